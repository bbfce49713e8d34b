//! The tables, and the migration of older databases.
//!
//! Invariant: the `user_version` of a database is that of the newest of its applied [`STEPS`].
//! A released step is never changed; later changes are further steps.

use rusqlite::Connection;

/// "Mynh", which distinguishes a store from other programs' SQLite databases.
pub(super) const APPLICATION_ID: i32 = 0x4d79_6e68;

/// The version after the first step. Databases with earlier versions were never released and are refused.
const FIRST: i32 = 8;

/// The version that this program writes.
pub(super) const VERSION: i32 = FIRST + STEPS.len() as i32 - 1;

/// The first step creates the tables in an empty database. Each later step migrates it to the next version.
const STEPS: &[&str] = &[include_str!("schema/8.sql"), include_str!("schema/9.sql")];

/// Returns whether a database of this version can be opened; 0 is an empty one.
pub(super) fn is_known(version: i32) -> bool {
    version == 0 || (FIRST..=VERSION).contains(&version)
}

/// Migrates the database from version `found`, which [`is_known`], to [`VERSION`], completely or not at all.
pub(super) fn migrate(db: &Connection, found: i32) -> rusqlite::Result<()> {
    apply(db, STEPS, found)
}

fn apply(db: &Connection, steps: &[&str], found: i32) -> rusqlite::Result<()> {
    let done = usize::try_from(found - FIRST + 1).unwrap_or(0);
    if done >= steps.len() {
        return Ok(());
    }
    let tx = db.unchecked_transaction()?;
    for step in &steps[done..] {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", FIRST + steps.len() as i32 - 1)?;
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
    fn applies_only_the_missing_steps() {
        let db = Connection::open_in_memory().unwrap();
        apply(&db, &["CREATE TABLE a (x)"], 0).unwrap();
        let steps = [
            "not run again",
            "CREATE TABLE b (x)",
            "ALTER TABLE b ADD COLUMN y",
        ];
        apply(&db, &steps, version(&db)).unwrap();
        assert_eq!(version(&db), FIRST + 2);
        db.execute("INSERT INTO b (x, y) VALUES (1, 2)", []).unwrap();
        apply(&db, &steps, version(&db)).unwrap();
    }

    #[test]
    fn a_failed_step_leaves_the_database_unchanged() {
        let db = Connection::open_in_memory().unwrap();
        assert!(apply(&db, &["CREATE TABLE a (x)", "no SQL"], 0).is_err());
        assert_eq!(version(&db), 0);
        let tables: i64 = db
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0);
    }
}
