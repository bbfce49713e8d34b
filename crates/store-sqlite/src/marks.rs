//! Marks record which row was the newest at which running time (see `retention.rs`).

use mynah_store::UnixMillis;
use rusqlite::{Connection, OptionalExtension, params};

/// Longest time between two marks while messages are stored: a message may be deleted this much later than
/// necessary.
const MOST_BETWEEN_MARKS_MS: u64 = 3_600_000;
/// The minimum number of marks within the time that messages are kept.
const LEAST_MARKS: u64 = 64;

/// A row, and the running time at which it was the newest: rows up to it were committed then or earlier.
type Mark = (i64, UnixMillis);

/// The marks as the writer knows them. Without retention no marks are kept.
#[derive(Default)]
pub(super) struct Marks {
    /// Time between two marks.
    interval_ms: u64,
    is_on: bool,
    /// Without retention: whether the marks of earlier runs with retention were deleted. They would not cover
    /// the rows that are added now.
    is_cleared: bool,
    /// Whether the rows that existed at the start have a mark.
    has_begun: bool,
    /// The newest row when the store was opened.
    start: i64,
    /// The newest mark in the database.
    last: Mark,
    /// The newest row, with the time of the last transaction that has added rows.
    newest: Mark,
}

impl Marks {
    pub(super) fn new(keep_ms: u64) -> Self {
        Self {
            interval_ms: (keep_ms / LEAST_MARKS).min(MOST_BETWEEN_MARKS_MS),
            is_on: keep_ms > 0,
            ..Self::default()
        }
    }

    /// Called when the store was opened; its newest row was written at `then` at the latest.
    pub(super) fn begin(&mut self, newest: i64, then: UnixMillis) {
        self.start = newest;
        self.newest = (newest, then);
    }

    /// Continues from the state of the database.
    pub(super) fn reload(&mut self, db: &Connection, newest: i64, now: UnixMillis) -> rusqlite::Result<()> {
        let last = "SELECT row, at FROM ages ORDER BY row DESC LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        self.last = db.query_row(last, [], read).optional()?.unwrap_or_default();
        self.newest = (newest, now);
        self.has_begun = false;
        Ok(())
    }

    /// Makes a mark at the end of a transaction after which `newest` is the newest row, if it is time for
    /// one.
    pub(super) fn flush(&mut self, db: &Connection, newest: i64, now: UnixMillis) -> rusqlite::Result<()> {
        if !self.is_on {
            if !self.is_cleared {
                db.execute("DELETE FROM ages", [])?;
                self.is_cleared = true;
            }
            return Ok(());
        }
        if !self.has_begun {
            // Also in an empty store: the first mark means that later rows have marks.
            if self.newest.0 > self.last.0 || self.last == (0, 0) {
                self.make(db, self.newest)?;
            }
            self.has_begun = true;
        }
        if newest == self.newest.0 {
            return Ok(());
        }
        if self.newest.1.abs_diff(self.last.1) >= self.interval_ms {
            self.save(db)?;
        }
        self.newest = (newest, now);
        Ok(())
    }

    /// Makes a mark of the newest row, so that the next start does not regard it as younger than it is.
    pub(super) fn save(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if self.is_on && self.newest.0 > self.last.0 {
            self.make(db, self.newest)?;
        }
        Ok(())
    }

    /// Moves the marks of earlier runs back by `by`, because the rows are older than they say.
    pub(super) fn age(&mut self, db: &Connection, by: u64) -> rusqlite::Result<()> {
        if by > 0 {
            db.prepare_cached("UPDATE ages SET at = max(at - ?1, 0) WHERE row <= ?2")?
                .execute(params![by, self.start])?;
        }
        if self.newest.0 <= self.start {
            self.newest.1 = self.newest.1.saturating_sub(by);
        }
        Ok(())
    }

    fn make(&mut self, db: &Connection, mark: Mark) -> rusqlite::Result<()> {
        db.prepare_cached("INSERT OR REPLACE INTO ages (row, at) VALUES (?1, ?2)")?
            .execute(params![mark.0, mark.1])?;
        self.last = mark;
        Ok(())
    }

    /// Returns the newest row that is certainly older than `cutoff`.
    pub(super) fn older_than(
        &mut self,
        db: &Connection,
        cutoff: UnixMillis,
    ) -> rusqlite::Result<Option<i64>> {
        if self.newest.1 < cutoff {
            return Ok(Some(self.newest.0));
        }
        db.prepare_cached("SELECT row FROM ages WHERE at < ?1 ORDER BY row DESC LIMIT 1")?
            .query_row([cutoff], |row| row.get(0))
            .optional()
    }
}
