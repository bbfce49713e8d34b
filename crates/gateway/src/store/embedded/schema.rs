//! The tables, and how an older file becomes a newer one.
//!
//! Invariant: a file's `user_version` is the number of steps of [`STEPS`] it has been through. A step that was released is never
//! changed; what comes later is a step of its own.

use rusqlite::Connection;

/// "Mynh": tells our files from other programs' SQLite files.
pub(super) const APPLICATION_ID: i32 = 0x4d79_6e68;

/// What this program writes.
pub(super) const VERSION: i32 = STEPS.len() as i32;

/// Step `n` takes a file from version `n` to `n + 1`.
const STEPS: &[&str] = &[include_str!("schema/1.sql")];

/// Takes the file from version `found` to [`VERSION`], all or nothing.
pub(super) fn migrate(db: &Connection, found: i32) -> rusqlite::Result<()> {
    let from = usize::try_from(found).unwrap_or(0);
    if from >= STEPS.len() {
        return Ok(());
    }
    let tx = db.unchecked_transaction()?;
    for step in &STEPS[from..] {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()
}
