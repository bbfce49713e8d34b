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
const STEPS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
];

/// Takes the file from version `found` to [`VERSION`], all or nothing.
pub(super) fn migrate(db: &Connection, found: i32) -> rusqlite::Result<()> {
    apply(db, STEPS, found)
}

fn apply(db: &Connection, steps: &[&str], found: i32) -> rusqlite::Result<()> {
    let from = usize::try_from(found).unwrap_or(0);
    if from >= steps.len() {
        return Ok(());
    }
    let tx = db.unchecked_transaction()?;
    for step in &steps[from..] {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", steps.len() as i32)?;
    tx.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(db: &Connection) -> i32 {
        db.pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn goes_from_where_the_file_is() {
        let db = Connection::open_in_memory().unwrap();
        apply(&db, &["CREATE TABLE a (x)"], 0).unwrap();
        let steps = [
            "not run again",
            "CREATE TABLE b (x)",
            "ALTER TABLE b ADD COLUMN y",
        ];
        apply(&db, &steps, version(&db)).unwrap();
        assert_eq!(version(&db), 3);
        db.execute("INSERT INTO b (x, y) VALUES (1, 2)", []).unwrap();
        apply(&db, &steps, version(&db)).unwrap();
    }

    #[test]
    fn a_failed_step_leaves_the_file_as_it_was() {
        let db = Connection::open_in_memory().unwrap();
        assert!(apply(&db, &["CREATE TABLE a (x)", "no SQL"], 0).is_err());
        assert_eq!(version(&db), 0);
        let tables: i64 = db
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0);
    }
}
