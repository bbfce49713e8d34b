//! Deletes messages that are older than the configured time, and those of deleted teams: a few at a time, by
//! one node at a time, which holds an advisory lock.
//!
//! The age of messages: `marks.rs`. Invariants: the oldest messages of a conversation are deleted first and
//! `seq` goes on; the running values at the last deleted message are kept with the conversation, so that
//! deleted messages do not count as unread; heads are locked in the order of their ids, as the writer does
//! it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::{Client, GenericClient};
use uuid::Uuid;

use super::address::Address;
use super::age::steady;
use super::failure::Failure;
use super::marks::Marks;
use super::rows::Moment;
use super::rules::Rules;
use super::session::in_time;
use super::unread::{count_unread, own_before};
use super::values::stored;

/// The maximum number of messages that one transaction deletes.
const BATCH: i64 = 1_000;
/// Pause between two transactions.
const PAUSE: Duration = Duration::from_millis(20);
/// Time between two searches when there is nothing to delete.
const LOOK: Duration = Duration::from_secs(60);
/// The advisory lock of the node that deletes.
const LOCK: &str =
    "SELECT pg_try_advisory_xact_lock(hashtext('mynah retention'), hashtext(current_schema()))";
const HOUR_MS: u64 = 3_600_000;

/// The oldest messages up to a row: up to where each conversation is to be deleted. The newest message of all
/// stays, as the ids of messages continue from it.
const OLDEST: &str = "SELECT conv, max(seq) FROM (SELECT conv, seq FROM messages
         WHERE id <= least($1, (SELECT max(id) - 1 FROM messages)) ORDER BY id LIMIT $2) m
     GROUP BY conv ORDER BY conv";
const LOCK_HEADS: &str =
    "SELECT conv FROM conversations WHERE conv = ANY ($1::uuid[]) ORDER BY conv FOR NO KEY UPDATE";
const KEEP_VALUES: &str = "UPDATE conversations c SET gone = m.seq, gone_counted = m.counted,
         gone_a = CASE WHEN c.b IS NULL OR m.sender = c.a THEN coalesce(m.own, 0) ELSE m.counted - m.own END,
         gone_b = CASE WHEN c.b IS NULL THEN 0 WHEN m.sender = c.a AND c.a <> c.b THEN m.counted - m.own ELSE m.own END
     FROM unnest($1::uuid[], $2::bigint[]) AS q(conv, seq) JOIN messages m ON m.conv = q.conv AND m.seq = q.seq
     WHERE c.conv = q.conv";
const DELETE_RECALLS: &str =
    "WITH old AS (DELETE FROM recalls r USING unnest($1::uuid[], $2::bigint[]) AS q(conv, seq)
         WHERE r.conv = q.conv AND r.seq <= q.seq RETURNING r.conv),
     counts AS (SELECT conv, count(*) AS n FROM old GROUP BY conv)
     UPDATE conversations c SET recalls = c.recalls - counts.n FROM counts WHERE c.conv = counts.conv";
const DELETE_JOBS: &str = "DELETE FROM push_jobs j USING unnest($1::uuid[], $2::bigint[]) AS q(conv, seq)
     WHERE j.conv = q.conv AND j.seq <= q.seq";
const DELETE_DEPARTURES: &str =
    "DELETE FROM departures x USING unnest($1::uuid[], $2::bigint[]) AS q(conv, seq)
     WHERE x.conv = q.conv AND x.seq <= q.seq";
const DELETE_MESSAGES: &str = "DELETE FROM messages m USING unnest($1::uuid[], $2::bigint[]) AS q(conv, seq)
     WHERE m.conv = q.conv AND m.seq <= q.seq";
/// Counts what is unread in pairs and notices again.
const RECOUNT: &str = concat!(
    "UPDATE conversations SET unread_a = n.a, unread_b = n.b FROM (
         SELECT c.conv, coalesce(sum(",
    count_unread!(),
    ") FILTER (WHERE p.uid = c.a), 0)::bigint AS a, coalesce(sum(",
    count_unread!(),
    ") FILTER (WHERE p.uid = c.b AND c.b <> c.a), 0)::bigint AS b
         FROM conversations c JOIN participants p ON p.conv = c.conv AND p.uid IN (c.a, c.b)
         WHERE c.conv = ANY ($1::uuid[]) GROUP BY c.conv) n
     WHERE conversations.conv = n.conv AND (unread_a <> n.a OR unread_b <> n.b)"
);
/// Messages of deleted teams, except those that tell former members of the end.
const DELETE_OF_DELETED_TEAMS: &str = "DELETE FROM messages m USING (
         SELECT o.conv, o.seq FROM conversations c JOIN messages o ON o.conv = c.conv
         WHERE c.closed AND o.id < (SELECT max(id) FROM messages)
             AND NOT EXISTS (SELECT FROM departures x WHERE x.conv = o.conv AND x.seq = o.seq) LIMIT $1) q
     WHERE m.conv = q.conv AND m.seq = q.seq";
const DELETE_JOBS_OF_DELETED_TEAMS: &str =
    "DELETE FROM push_jobs j USING conversations c WHERE c.closed AND j.conv = c.conv";
const DELETE_BEGUN: &str = "DELETE FROM begun WHERE at <= $1";

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Another node deletes.
    Busy,
    /// There is more to delete.
    More,
    Nothing,
}

/// See the module.
pub(super) struct Retention {
    address: Address,
    rules: Arc<Rules>,
    /// Notified when a team was deleted.
    team_was_deleted: Arc<Notify>,
    marks: tokio::sync::Mutex<Marks>,
}

impl Retention {
    pub(super) fn new(address: Address, rules: Arc<Rules>, team_was_deleted: Arc<Notify>) -> Self {
        let marks = tokio::sync::Mutex::new(Marks::new(rules.node));
        Self {
            address,
            rules,
            team_was_deleted,
            marks,
        }
    }

    /// Works until it is dropped.
    pub(super) async fn run(&self) {
        // An earlier run may have left messages of deleted teams.
        let (mut with_old, mut next) = (false, Instant::now() + LOOK);
        loop {
            if let Err(failure) = self.look(with_old).await {
                tracing::warn!(error = %failure.told(), "old messages could not be deleted; tried again later");
            }
            let deleted = tokio::time::timeout_at(next, self.team_was_deleted.notified()).await;
            with_old = deleted.is_err();
            if with_old {
                next = Instant::now() + LOOK;
            }
        }
    }

    /// Deletes messages of deleted teams, and old ones if `with_old`, a few at a time, until there are no
    /// more to delete.
    pub(super) async fn look(&self, with_old: bool) -> Result<Look, Failure> {
        let mut client = in_time(self.address.connect()).await?;
        loop {
            let found = in_time(self.delete_some(&mut client, with_old)).await?;
            if found != Look::More {
                return Ok(found);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn delete_some(&self, client: &mut Client, with_old: bool) -> Result<Look, Failure> {
        let transaction = client.transaction().await?;
        if !transaction.query_one(LOCK, &[]).await?.try_get::<_, bool>(0)? {
            return Ok(Look::Busy);
        }
        let moment = Moment::of(&transaction, &self.rules).await?;
        let clocks = self
            .rules
            .clock
            .as_ref()
            .map_or((moment.now, steady()), |clock| clock());
        let mut marks = self.marks.lock().await;
        let searched = match self.rules.keep_ms {
            keep_ms if keep_ms == 0 || !with_old => None,
            keep_ms => Some(marks.look(&transaction, clocks, keep_ms).await?),
        };
        let closed = transaction.execute(DELETE_OF_DELETED_TEAMS, &[&BATCH]).await?;
        transaction.execute(DELETE_JOBS_OF_DELETED_TEAMS, &[]).await?;
        let mut more = closed == BATCH.unsigned_abs();
        if let Some(row) = searched.and_then(|searched| searched.old) {
            more |= delete_old(&transaction, row).await?;
        }
        transaction
            .execute(DELETE_BEGUN, &[&stored(clocks.0.saturating_sub(HOUR_MS))])
            .await?;
        transaction.commit().await?;
        if let Some(searched) = searched {
            marks.looked(searched);
        }
        Ok(if more { Look::More } else { Look::Nothing })
    }
}

/// Deletes the oldest messages; true if there may be more.
async fn delete_old(client: &impl GenericClient, row: i64) -> Result<bool, Failure> {
    let (mut convs, mut seqs): (Vec<Uuid>, Vec<i64>) = (Vec::new(), Vec::new());
    for row in client.query(OLDEST, &[&row, &BATCH]).await? {
        convs.push(row.try_get(0)?);
        seqs.push(row.try_get(1)?);
    }
    if convs.is_empty() {
        return Ok(false);
    }
    client.query(LOCK_HEADS, &[&convs]).await?;
    for sql in [KEEP_VALUES, DELETE_RECALLS, DELETE_JOBS, DELETE_DEPARTURES] {
        client.execute(sql, &[&convs, &seqs]).await?;
    }
    let deleted = client.execute(DELETE_MESSAGES, &[&convs, &seqs]).await?;
    client.execute(RECOUNT, &[&convs]).await?;
    Ok(deleted >= BATCH.unsigned_abs())
}
