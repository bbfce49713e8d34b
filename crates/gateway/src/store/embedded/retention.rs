//! Deleting what is older than it is to be kept: the oldest rows of all, a few at a time between two batches of the writer.
//!
//! The age of a message does not depend on its `ts`, because the machine's clock may have been wrong when it
//! was written, or be wrong now. Row numbers ascend with time. From time to time a **mark** records which row
//! was the newest at which running time (age.rs). All rows up to a mark are at least as old as the mark. When
//! it is believed that the store was closed for some time, the marks of earlier runs are moved back by that.
//!
//! Invariants: in the run of the store in which a message was written it is not deleted before the steady clock
//! has gone on by `keep_ms`, whatever the machine's clock does. In later runs it ages at most twice as fast as
//! the steady clock, and no faster than that once the time is made up for which the clock says that the store
//! was closed.
//! The oldest messages of a conversation are deleted first and `seq` goes on. The running values at the last
//! deleted message are kept with the conversation, so that deleted messages do not count as unread. The
//! newest row of the store is kept, because row numbers and mids continue from it.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::state::State;
use super::{cids, unread};
use crate::ids::ConvId;
use crate::time::UnixMillis;

/// Most messages of one transaction: a few milliseconds.
const BATCH: i64 = 500;
/// Pause between two transactions, in which other data can be written.
const PAUSE_MS: u64 = 20;
/// Between two looks when there is nothing to delete.
const LOOK_MS: u64 = 60_000;
/// Longest time between two marks while messages are stored: a message may be deleted this much later than
/// necessary.
const MOST_BETWEEN_MARKS_MS: u64 = 3_600_000;
/// Marks within the time that messages are kept, at least.
const LEAST_MARKS: u64 = 64;

/// When to look, and for what. Times are the steady clock's.
#[derive(Debug)]
pub(super) struct Retention {
    /// How long messages are kept; 0 is for ever.
    keep_ms: u64,
    /// The next look is not before this.
    next: UnixMillis,
    /// Deleted messages that have not been logged yet.
    untold: u64,
}

impl From<u64> for Retention {
    fn from(keep_ms: u64) -> Self {
        Self {
            keep_ms,
            next: 0,
            untold: 0,
        }
    }
}

impl Retention {
    /// Returns how long messages are kept, if it is time to look for older ones.
    pub(super) fn is_due(&self, now: UnixMillis) -> Option<u64> {
        (self.keep_ms > 0 && now >= self.next).then_some(self.keep_ms)
    }

    /// How long until the next look.
    pub(super) fn wait(&self, now: UnixMillis) -> Option<u64> {
        (self.keep_ms > 0).then(|| self.next.saturating_sub(now).clamp(1, LOOK_MS))
    }

    /// It was looked at `now`; if there is more to delete, this is how long deleting some took.
    pub(super) fn looked(&mut self, more: Option<Duration>, now: UnixMillis) {
        let wait = more.map_or(LOOK_MS, |took| took.as_millis() as u64 + PAUSE_MS);
        self.next = now + wait;
    }

    /// Counts deleted messages. They are logged once there are no more to delete.
    pub(super) fn deleted(&mut self, messages: u64, more: bool) {
        self.untold += messages;
        if !more && self.untold > 0 {
            let messages = std::mem::take(&mut self.untold);
            tracing::info!(
                messages,
                "Deleted messages that are older than store.retention_days."
            );
        }
    }
}

/// A row, and the running time at which it was the newest: rows up to it were committed then or earlier.
type Mark = (i64, UnixMillis);

/// The marks as the writer knows them; nothing is kept without retention.
pub(super) struct Marks {
    /// Between two marks.
    interval_ms: u64,
    is_on: bool,
    /// Deletes the marks of an earlier time with retention: rows that were added since have none.
    is_cleared: bool,
    /// The rows that were there at the start have a mark.
    has_begun: bool,
    /// The newest row when the store was opened.
    start: i64,
    /// The newest in the file.
    last: Mark,
    /// The newest row, with the time of the last transaction that added any.
    newest: Mark,
}

impl Marks {
    pub(super) fn new(keep_ms: u64) -> Self {
        Self {
            interval_ms: (keep_ms / LEAST_MARKS).min(MOST_BETWEEN_MARKS_MS),
            is_on: keep_ms > 0,
            is_cleared: false,
            has_begun: false,
            start: 0,
            last: (0, 0),
            newest: (0, 0),
        }
    }

    /// The store was opened; its newest row was written at `then` at the latest.
    pub(super) fn begin(&mut self, newest: i64, then: UnixMillis) {
        self.start = newest;
        self.newest = (newest, then);
    }

    /// Continues with what the file says.
    pub(super) fn reload(&mut self, db: &Connection, newest: i64, now: UnixMillis) -> rusqlite::Result<()> {
        let last = "SELECT row, at FROM ages ORDER BY row DESC LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()));
        self.last = db.query_row(last, [], read).optional()?.unwrap_or_default();
        self.newest = (newest, now);
        self.has_begun = false;
        Ok(())
    }

    /// Makes a mark at the end of a transaction after which `newest` is the newest row, if it is time for one.
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

    /// Makes a mark of the newest row, so that a start does not take it for younger than it is.
    pub(super) fn save(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if self.is_on && self.newest.0 > self.last.0 {
            self.make(db, self.newest)?;
        }
        Ok(())
    }

    /// What was written in earlier runs is older by `by` than its marks say.
    fn age(&mut self, db: &Connection, by: u64) -> rusqlite::Result<()> {
        if by > 0 {
            db.prepare_cached("UPDATE ages SET at = max(at - ?1, 0) WHERE row <= ?2")?
                .execute([by as i64, self.start])?;
        }
        if self.newest.0 <= self.start {
            self.newest.1 = self.newest.1.saturating_sub(by);
        }
        Ok(())
    }

    fn make(&mut self, db: &Connection, mark: Mark) -> rusqlite::Result<()> {
        db.prepare_cached("INSERT OR REPLACE INTO ages (row, at) VALUES (?1, ?2)")?
            .execute([mark.0, mark.1 as i64])?;
        self.last = mark;
        Ok(())
    }

    /// The newest row that is certainly older than `cutoff`.
    fn older_than(&mut self, db: &Connection, cutoff: UnixMillis) -> rusqlite::Result<Option<i64>> {
        if self.newest.1 < cutoff {
            return Ok(Some(self.newest.0));
        }
        db.prepare_cached("SELECT row FROM ages WHERE at < ?1 ORDER BY row DESC LIMIT 1")?
            .query_row([cutoff as i64], |row| row.get(0))
            .optional()
    }
}

/// What was deleted.
pub(super) struct Deleted {
    /// There may be more to delete.
    pub(super) more: bool,
    /// How many were deleted.
    pub(super) messages: u64,
    /// Push jobs that had been given up.
    pub(super) dead_jobs: u64,
    /// Conversations whose unread messages are fewer now.
    pub(super) recounted: Vec<ConvId>,
}

/// Deletes some of the messages that are older than `keep_ms`.
pub(super) fn delete_some(db: &Connection, state: &mut State, keep_ms: u64) -> rusqlite::Result<Deleted> {
    let tx = db.unchecked_transaction()?;
    let deleted = delete(&tx, state, keep_ms)?;
    tx.commit()?;
    Ok(deleted)
}

fn delete(db: &Connection, state: &mut State, keep_ms: u64) -> rusqlite::Result<Deleted> {
    let now = state.age.ran();
    let newest = state.next_row - 1;
    state.marks.save(db)?;
    state.marks.age(db, state.age.take_closed())?;
    let through = match state.marks.older_than(db, now.saturating_sub(keep_ms))? {
        Some(row) => Some(row),
        None => unmarked(db, state.age.certain().saturating_sub(keep_ms))?,
    };
    let through = through.map(|row| row.min(newest - 1));
    let mut select = db.prepare_cached(
        "SELECT id, conv_id, seq, sender, cid FROM messages WHERE id <= ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows = select.query(params![through, BATCH])?;
    let (mut last, mut count) = (0, 0);
    // The last to go of each conversation.
    let mut gone: BTreeMap<i64, i64> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        let conv_id = row.get(1)?;
        gone.insert(conv_id, row.get(2)?);
        if let Some(cid) = row.get_ref(4)?.as_str_or_null()? {
            cids::forget(db, (conv_id, row.get_ref(3)?.as_str_or_null()?, cid), last)?;
        }
        count += 1;
    }
    drop(rows);
    let mut recounted = Vec::new();
    for (conv_id, seq) in gone {
        forget(db, conv_id, seq)?;
        recounted.extend(unread::recount(db, conv_id)?);
    }
    let mut dead_jobs = 0;
    if count > 0 {
        // Those that wait are as few as the push service lets them be; of those that were given up there may be any number.
        db.prepare_cached(
            "DELETE FROM push_jobs INDEXED BY push_jobs_due WHERE dead = 0 AND lane >= 0 AND message <= ?1",
        )?
        .execute([last])?;
        dead_jobs = db
            .prepare_cached("DELETE FROM push_jobs WHERE dead = 1 AND message <= ?1")?
            .execute([last])? as u64;
        db.prepare_cached("DELETE FROM messages WHERE id <= ?1")?
            .execute([last])?;
        db.prepare_cached("DELETE FROM departures WHERE message <= ?1")?
            .execute([last])?;
        // The newest mark without rows is kept: it means that later rows have marks.
        db.prepare_cached("DELETE FROM ages WHERE row < (SELECT max(row) FROM ages WHERE row <= ?1)")?
            .execute([last])?;
    }
    Ok(Deleted {
        more: count == BATCH,
        messages: count.unsigned_abs(),
        dead_jobs,
        recounted,
    })
}

/// The last of the oldest rows without marks that were written before `cutoff`. They were written when there
/// was no retention, so only their `ts` shows their age.
fn unmarked(db: &Connection, cutoff: UnixMillis) -> rusqlite::Result<Option<i64>> {
    let mut select = db.prepare_cached(
        "SELECT id, ts FROM messages WHERE id <= (SELECT min(row) FROM ages) ORDER BY id LIMIT ?1",
    )?;
    let mut rows = select.query([BATCH])?;
    let mut through = None;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)?.unsigned_abs() >= cutoff {
            break;
        }
        through = Some(row.get(0)?);
    }
    Ok(through)
}

/// Prepares a conversation for losing its messages up to `seq`.
fn forget(db: &Connection, conv_id: i64, seq: i64) -> rusqlite::Result<()> {
    // In a pair, what the sender has not sent of the counted is the other's; notices keep their owner's number.
    db.prepare_cached(
        "UPDATE conversations SET gone = m.seq, gone_counted = m.counted,
             gone_a = CASE WHEN b IS NULL OR m.sender = a THEN coalesce(m.own, 0) ELSE m.counted - m.own END,
             gone_b = CASE WHEN b IS NULL THEN 0 WHEN m.sender = a AND a <> b THEN m.counted - m.own ELSE m.own END
         FROM messages m WHERE m.conv_id = ?1 AND m.seq = ?2 AND conversations.id = ?1",
    )?
    .execute([conv_id, seq])?;
    let recalls = db
        .prepare_cached("DELETE FROM recalls WHERE conv_id = ?1 AND seq <= ?2")?
        .execute([conv_id, seq])?;
    if recalls > 0 {
        db.prepare_cached("UPDATE conversations SET recalls = recalls - ?2 WHERE id = ?1")?
            .execute(params![conv_id, recalls as i64])?;
    }
    Ok(())
}
