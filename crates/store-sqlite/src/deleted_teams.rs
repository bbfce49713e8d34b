//! Deletes the messages of deleted teams, which nobody can read any more and which users expect to be erased.
//! The messages of kind 17 about the end of the team are kept for devices that were offline (departures.rs).
//!
//! A few messages are deleted at a time, between two batches of the writer, so that a large team does not
//! delay other writes. Invariant: the newest row of the store is kept, because row numbers and mids continue
//! from it; only its text is deleted.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

/// The maximum number of messages that one transaction deletes, which takes a few milliseconds.
const BATCH: i64 = 500;
/// The maximum number of rows of the other tables in one transaction. Such rows are far smaller than
/// messages. The number is small in tests of this crate.
const SMALL_ROWS: i64 = if cfg!(test) { 3 } else { 5_000 };
/// Pause between two transactions, in which other data can be written.
const PAUSE: Duration = Duration::from_millis(20);
/// Time until a retry after a failure.
const AGAIN: Duration = Duration::from_secs(10);

/// When the next messages must be deleted.
#[derive(Debug)]
pub(super) struct DeletedTeams {
    due: Option<Instant>,
}

impl DeletedTeams {
    /// Starts with a look, because an earlier run may have left messages.
    pub(super) fn new() -> Self {
        Self {
            due: Some(Instant::now()),
        }
    }

    /// The conversation of a deleted team was closed: nobody can read it any more.
    pub(super) fn another(&mut self) {
        self.due.get_or_insert_with(Instant::now);
    }

    /// Returns the time until there is something to do.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Tries again later, because it is not possible now.
    pub(super) fn postpone(&mut self) {
        self.due = self.due.map(|_| Instant::now() + AGAIN);
    }

    /// Deletes some messages, if it is time. Returns whether there was anything to delete.
    pub(super) fn delete_some(&mut self, db: &Connection) -> rusqlite::Result<bool> {
        if self.wait().is_none_or(|wait| !wait.is_zero()) {
            return Ok(false);
        }
        self.postpone();
        let tx = db.unchecked_transaction()?;
        let deleted = delete(&tx)?;
        tx.commit()?;
        self.due = deleted.then(|| Instant::now() + PAUSE);
        Ok(deleted)
    }
}

/// Records that the messages of a conversation must be deleted.
pub(super) fn note(db: &Connection, conv_id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('closed:' || ?1, ?1)")?
        .execute([conv_id.to_string()])?;
    Ok(())
}

fn delete(db: &Connection) -> rusqlite::Result<bool> {
    let noted: Option<i64> = db
        .prepare_cached(
            "SELECT CAST(value AS INTEGER) FROM meta WHERE key > 'closed:' AND key < 'closed;' LIMIT 1",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(conv_id) = noted else {
        return Ok(false);
    };
    let newest: i64 = db.query_row("SELECT coalesce(max(id), 0) FROM messages", [], |row| row.get(0))?;
    let rows = db
        .prepare_cached(
            "SELECT id FROM messages WHERE conv_id = ?1 AND NOT EXISTS (SELECT 1 FROM departures d WHERE d.message = messages.id)
             ORDER BY seq LIMIT ?2",
        )?
        .query_map(params![conv_id, BATCH], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    for row in &rows {
        db.prepare_cached("DELETE FROM push_jobs WHERE dead = 1 AND message = ?1")?
            .execute([row])?;
        let sql = match *row == newest {
            true => "UPDATE messages SET recalled = 1, data = 'null' WHERE id = ?1",
            false => "DELETE FROM messages WHERE id = ?1",
        };
        db.prepare_cached(sql)?.execute([row])?;
    }
    if (rows.len() as i64) < BATCH {
        let mut left = 0;
        for sql in [
            "DELETE FROM cids WHERE conv_id = ?1
                 AND hash IN (SELECT hash FROM cids WHERE conv_id = ?1 LIMIT ?2)",
            "DELETE FROM recalls WHERE conv_id = ?1
                 AND seq IN (SELECT seq FROM recalls WHERE conv_id = ?1 LIMIT ?2)",
        ] {
            let deleted = db.prepare_cached(sql)?.execute([conv_id, SMALL_ROWS])?;
            left += usize::from(deleted as i64 == SMALL_ROWS);
        }
        if left == 0 {
            db.prepare_cached("DELETE FROM meta WHERE key = 'closed:' || ?1")?
                .execute([conv_id])?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn cids_of_a_deleted_team_are_deleted_a_few_at_a_time() {
        let db = Connection::open_in_memory().unwrap();
        schema::migrate(&db, 0).unwrap();
        note(&db, 7).unwrap();
        for number in 0..10 {
            let sql = "INSERT INTO cids (conv_id, hash, message) VALUES (7, ?1, 1), (8, ?1, 1)";
            db.execute(sql, [number]).unwrap();
        }
        db.execute("INSERT INTO recalls (conv_id, seq) VALUES (7, 1)", [])
            .unwrap();
        let count = || -> i64 {
            let count = "SELECT (SELECT count(*) FROM cids) + (SELECT count(*) FROM recalls)";
            db.query_row(count, [], |row| row.get(0)).unwrap()
        };
        let mut left = Vec::new();
        while DeletedTeams::new().delete_some(&db).unwrap() {
            left.push(count());
        }
        assert_eq!(left, [17, 14, 11, 10], "those of another conversation stay");
    }
}
