//! Deletes messages that are older than the configured time: the oldest rows of the store, a few at a time
//! between two batches of the writer.
//!
//! The age of a message does not depend on its `ts`, because the machine's clock may have been wrong when it
//! was written, or may be wrong now. Row numbers ascend with time. From time to time a **mark** records which
//! row was the newest at which running time (age.rs). All rows up to a mark are at least as old as the mark.
//! When a part of a stop is accepted (age.rs), the marks of earlier runs are moved back by that time.
//!
//! Invariants: in the run in which a message was written it is not deleted before the steady clock has
//! advanced by `keep_ms`, whatever the machine's clock does. In later runs it ages at most twice as fast as
//! the steady clock, and only at the same rate once the stop is made up for. The oldest messages of a
//! conversation are deleted first, and `seq` continues. The running values at the last deleted message are
//! kept with the conversation, so that deleted messages do not count as unread. The newest row of the store
//! is kept, because row numbers and mids continue from it.

use std::collections::BTreeMap;
use std::time::Duration;

use mynah_store::UnixMillis;
use mynah_store::ids::ConvId;
use rusqlite::{Connection, params};

use super::state::State;
use super::{cids, recount};

/// The maximum number of messages that one transaction deletes, which takes a few milliseconds.
const BATCH: i64 = 500;
/// Pause between two transactions, in which other data can be written.
const PAUSE_MS: u64 = 20;
/// Time between two searches when there is nothing to delete.
const LOOK_MS: u64 = 60_000;
/// When to search, and for what. Times are those of the steady clock.
#[derive(Debug)]
pub(super) struct Retention {
    /// How long messages are kept; 0 is for ever.
    keep_ms: u64,
    /// Time before which there is no search.
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
    /// Returns how long messages are kept, if it is time to search for older ones.
    pub(super) fn is_due(&self, now: UnixMillis) -> Option<u64> {
        (self.keep_ms > 0 && now >= self.next).then_some(self.keep_ms)
    }

    /// Returns the time until the next search.
    pub(super) fn wait(&self, now: UnixMillis) -> Option<u64> {
        (self.keep_ms > 0).then(|| self.next.saturating_sub(now).clamp(1, LOOK_MS))
    }

    /// Records a search at the time `now`. If there is more to delete, `more` is how long the deletion took.
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

/// The result of a deletion.
pub(super) struct Deleted {
    /// Whether there may be more to delete.
    pub(super) more: bool,
    /// The number of deleted messages.
    pub(super) messages: u64,
    /// Conversations whose number of unread messages has decreased.
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
    state.marks.age(db, state.age.take_stop())?;
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
    // The last deleted message of each conversation.
    let mut gone: BTreeMap<i64, i64> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        let conv_id = row.get(1)?;
        gone.insert(conv_id, row.get(2)?);
        if let Some(cid) = row.get_ref(4)?.as_str_or_null()? {
            cids::forget(db, conv_id, row.get_ref(3)?.as_str_or_null()?, cid, last)?;
        }
        count += 1;
    }
    drop(rows);
    let mut recounted = Vec::new();
    for (conv_id, seq) in gone {
        forget(db, conv_id, seq)?;
        recounted.extend(recount::recount(db, conv_id)?);
    }
    if count > 0 {
        // This examines all pending jobs, whose number is limited because they expire. The number of dead
        // jobs is unlimited, so they have an index of their own.
        db.prepare_cached(
            "DELETE FROM push_jobs INDEXED BY push_jobs_due WHERE dead = 0 AND lane >= 0 AND message <= ?1",
        )?
        .execute([last])?;
        db.prepare_cached("DELETE FROM push_jobs WHERE dead = 1 AND message <= ?1")?
            .execute([last])?;
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
        recounted,
    })
}

/// Returns the last of the oldest rows without marks that were written before `cutoff`. They were written
/// without retention, so only their `ts` shows their age.
fn unmarked(db: &Connection, cutoff: UnixMillis) -> rusqlite::Result<Option<i64>> {
    let mut select = db.prepare_cached(
        "SELECT id, ts FROM messages WHERE id <= (SELECT min(row) FROM ages) ORDER BY id LIMIT ?1",
    )?;
    let mut rows = select.query([BATCH])?;
    let mut through = None;
    while let Some(row) = rows.next()? {
        if row.get::<_, u64>(1)? >= cutoff {
            break;
        }
        through = Some(row.get(0)?);
    }
    Ok(through)
}

/// Prepares a conversation for the deletion of its messages up to `seq`.
fn forget(db: &Connection, conv_id: i64, seq: i64) -> rusqlite::Result<()> {
    // In a pair, messages in `counted` that the sender has not sent are the other user's; in notices the
    // number is that of their owner.
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
            .execute(params![conv_id, recalls])?;
    }
    Ok(())
}
