//! The sums of unread messages of users (see `unread.rs`).

use std::collections::BTreeMap;

use mynah_store::ids::Uid;
use rusqlite::{Connection, OptionalExtension, params};

/// The changes of the users' sums in the open transaction.
#[derive(Default)]
pub(super) struct Totals {
    changed: BTreeMap<Uid, i64>,
}

impl Totals {
    pub(super) fn add(&mut self, uid: &Uid, change: i64) {
        match self.changed.get_mut(uid) {
            Some(sum) => *sum += change,
            None => drop(self.changed.insert(uid.clone(), change)),
        }
    }

    /// Writes the changes: one row for each user, whatever the number of messages.
    pub(super) fn flush(&mut self, db: &Connection) -> rusqlite::Result<()> {
        for (uid, change) in std::mem::take(&mut self.changed) {
            change_total(db, uid.as_str(), change)?;
        }
        Ok(())
    }

    /// Called after a failed transaction.
    pub(super) fn forget(&mut self) {
        self.changed.clear();
    }
}

/// Changes a user's sum.
pub(super) fn change_total(db: &Connection, uid: &str, change: i64) -> rusqlite::Result<()> {
    if change == 0 {
        return Ok(());
    }
    db.prepare_cached(
        "INSERT INTO users (uid, unread) VALUES (?1, max(0, ?2))
         ON CONFLICT DO UPDATE SET unread = max(0, unread + ?2)",
    )?
    .execute(params![uid, change])?;
    Ok(())
}

/// Returns a user's unread messages in all pairs and notices.
pub(super) fn total(db: &Connection, uid: &Uid) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT unread FROM users WHERE uid = ?1")?
        .query_row([uid.as_str()], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}
