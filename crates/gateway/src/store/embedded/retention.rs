//! Deleting what is older than it is to be kept: the oldest rows of all, a few at a time between two batches of the writer.
//!
//! Invariants: of a conversation the oldest messages go, `seq` goes on, and the running values at the last that went stay with the
//! conversation, so that what is gone is unread for nobody; the newest row of all stays, as row numbers and mids go on from it.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::{cids, unread};
use crate::ids::ConvId;
use crate::store::UnixMillis;

/// Most messages of one transaction: a few milliseconds.
const BATCH: i64 = 500;
/// How many batches of messages that are not old, as the clock ran ahead when they came, are looked beyond.
const AHEAD: i64 = 16;
/// Between two of them, for what else is to be written.
const PAUSE_MS: u64 = 20;
/// Between two looks when there is nothing to delete.
const LOOK_MS: u64 = 60_000;

/// When to look, and for what.
#[derive(Debug)]
pub(super) struct Retention {
    /// How long messages are kept; 0 is for ever.
    keep_ms: u64,
    /// The next look is not before this.
    next: UnixMillis,
}

impl From<u64> for Retention {
    fn from(keep_ms: u64) -> Self {
        Self { keep_ms, next: 0 }
    }
}

impl Retention {
    /// Messages of before this are to be deleted now, if anything is.
    pub(super) fn cutoff(&self, now: UnixMillis) -> Option<UnixMillis> {
        // A clock that was set back by more than a look waits for nothing.
        let due = now >= self.next || self.next - now > LOOK_MS;
        (self.keep_ms > 0 && due).then(|| now.saturating_sub(self.keep_ms))
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
}

/// What was deleted.
pub(super) struct Deleted {
    /// There may be more to delete.
    pub(super) more: bool,
    /// Anything was deleted.
    pub(super) any: bool,
    /// Push jobs that had been given up.
    pub(super) dead_jobs: u64,
    /// Conversations whose unread messages are fewer now.
    pub(super) recounted: Vec<ConvId>,
}

/// Deletes some of the messages of before `cutoff`.
pub(super) fn delete_some(db: &Connection, cutoff: UnixMillis) -> rusqlite::Result<Deleted> {
    let tx = db.unchecked_transaction()?;
    let deleted = delete(&tx, cutoff)?;
    tx.commit()?;
    Ok(deleted)
}

fn delete(db: &Connection, cutoff: UnixMillis) -> rusqlite::Result<Deleted> {
    let mut through = oldest(db, cutoff, BATCH)?;
    if through.is_none() {
        through = oldest(db, cutoff, BATCH * AHEAD)?;
    }
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
            "DELETE FROM push_jobs INDEXED BY push_jobs_due WHERE dead = 0 AND due >= 0 AND message <= ?1",
        )?
        .execute([last])?;
        dead_jobs = db
            .prepare_cached("DELETE FROM push_jobs WHERE dead = 1 AND message <= ?1")?
            .execute([last])? as u64;
        db.prepare_cached("DELETE FROM messages WHERE id <= ?1")?
            .execute([last])?;
    }
    Ok(Deleted {
        more: count == BATCH,
        any: count > 0,
        dead_jobs,
        recounted,
    })
}

/// The last of the first `rows` messages that is of before `cutoff`: what was committed before it is as old, even if the clock ran ahead then.
fn oldest(db: &Connection, cutoff: UnixMillis, rows: i64) -> rusqlite::Result<Option<i64>> {
    let cutoff = i64::try_from(cutoff).unwrap_or(i64::MAX);
    db.prepare_cached(
        "SELECT max(id) FROM (SELECT id, ts FROM messages
             WHERE id < (SELECT max(id) FROM messages) ORDER BY id LIMIT ?2) WHERE ts < ?1",
    )?
    .query_row([cutoff, rows], |row| row.get(0))
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
