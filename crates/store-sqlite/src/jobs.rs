//! Push jobs: one row for each message, created with it and kept until all its recipients were handled.

use mynah_store::ids::{ConvId, Seq, Uid};
use mynah_store::{
    Append, DueJobs, JobCounts, JobId, JobOutcome, JobQuery, JobRecipients, JobsFrom, Lane, Members, Place,
    PushJob, PushOrder, ToTell, UnixMillis,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::{Columns, number};
use super::conversations;
use super::history::{MESSAGE_COLUMNS, message};
use super::leases::Claim;
use super::log::Written;
use super::options::Options;
use super::tx::Tx;

/// S2C_VIDEOCALL_INVITE and S2C_VIDEOCALL_END: a user is not notified of a video call that has ended.
pub(super) const CALL: u16 = 18;
const CALL_END: u16 = 19;

/// Creates the job of a message that was just written. Returns `None` if it has no recipients except its
/// sender.
pub(super) fn make(
    tx: &mut Tx<'_>,
    message: &Written,
    order: &Append,
    members: Option<&Members>,
    push: PushOrder,
) -> rusqlite::Result<Option<JobId>> {
    let from = order.from.as_ref();
    let only = match &order.place {
        Place::Pair { to: uid, .. } | Place::Notices(uid) => Some(uid),
        Place::Team(_) => None,
    };
    let nobody = match (only, members) {
        (None, Some(members)) => members.iter().all(|uid| Some(uid) == from),
        (only, _) => only == from,
    };
    if nobody {
        return Ok(None);
    }
    let now = tx.state.age.steady();
    let team = match only {
        Some(_) => None,
        None => Some(tx.state.heads.edit(message.conv).id),
    };
    let row = NewJob {
        message: message.row,
        uid: only,
        team,
        lane: if push.urgent { Lane::Urgent } else { Lane::Normal } as i64,
        made: now,
        due: now.saturating_add(push.delay_ms),
        expires: now.saturating_add(push.expires_in_ms),
    };
    insert(tx, &row).map(Some)
}

/// A new row of `push_jobs`.
pub(super) struct NewJob<'a> {
    /// `messages.id`.
    pub(super) message: i64,
    pub(super) uid: Option<&'a Uid>,
    /// `conversations.id` of a team's message.
    pub(super) team: Option<i64>,
    pub(super) lane: i64,
    pub(super) made: UnixMillis,
    pub(super) due: UnixMillis,
    pub(super) expires: UnixMillis,
}

pub(super) fn insert(tx: &mut Tx<'_>, job: &NewJob<'_>) -> rusqlite::Result<JobId> {
    let id = tx.state.next_job;
    tx.state.next_job += 1;
    tx.db
        .prepare_cached(
            "INSERT INTO push_jobs (id, message, uid, conv_id, lane, made, due, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            id,
            job.message,
            job.uid.map(Uid::as_str),
            job.team,
            job.lane,
            number(job.made),
            number(job.due),
            number(job.expires)
        ])?;
    Ok(JobId(id))
}

/// Limits the deadlines that an earlier run of the program has stored to the longest possible ones: its clock
/// may have been wrong.
pub(super) fn bound(db: &Connection, now: UnixMillis, options: &Options) -> rusqlite::Result<()> {
    let due = number(now.saturating_add(options.longest_push_wait_ms));
    let expires = number(now.saturating_add(options.longest_push_life_ms));
    db.execute(
        "UPDATE push_jobs SET due = min(due, ?1), expires = min(expires, ?2), made = min(made, ?3)
         WHERE dead = 0 AND (due > ?1 OR expires > ?2 OR made > ?3)",
        [due, expires, number(now)],
    )?;
    Ok(())
}

/// Stores the outcome of a job. Does nothing if the job does not exist any more.
pub(super) fn finish(tx: &mut Tx<'_>, id: JobId, outcome: &JobOutcome) -> rusqlite::Result<()> {
    let now = tx.state.age.steady();
    let change = |sql: &str| tx.db.prepare_cached(sql)?.execute([id.0]);
    let postpone = |ms: u64, lane: Option<Lane>, failures: u32| {
        let (due, lane) = (number(now.saturating_add(ms)), lane.map(|lane| lane as i64));
        tx.db
            .prepare_cached(
                "UPDATE push_jobs SET due = ?2, lane = coalesce(?3, lane), attempts = attempts + ?4 WHERE id = ?1",
            )?
            .execute(params![id.0, due, lane, failures])
    };
    match outcome {
        JobOutcome::Finished => change("DELETE FROM push_jobs WHERE id = ?1")?,
        JobOutcome::Dead => change("UPDATE push_jobs SET dead = 1 WHERE id = ?1")?,
        JobOutcome::Retry { in_ms } => postpone(*in_ms, None, 1)?,
        JobOutcome::Later { in_ms } => postpone(*in_ms, None, 0)?,
        JobOutcome::Delivered { for_ms } => postpone(*for_ms, Some(Lane::Delivered), 0)?,
        JobOutcome::Advanced { after, jobs } => return advance(tx, id, after, jobs),
    };
    Ok(())
}

/// Records that the members of a team up to `after` were handled, and creates their jobs, each with the time
/// until it is due.
fn advance(tx: &mut Tx<'_>, id: JobId, after: &Uid, jobs: &[(Uid, u64)]) -> rusqlite::Result<()> {
    let now = tx.state.age.steady();
    let row = tx
        .db
        .prepare_cached(
            "UPDATE push_jobs SET after = ?2 WHERE id = ?1
             RETURNING message, lane, made, due, expires, conv_id",
        )?
        .query_row(params![id.0, after.as_str()], |row| {
            Ok(NewJob {
                message: row.get(0)?,
                uid: None,
                lane: row.get(1)?,
                made: row.get(2)?,
                due: row.get(3)?,
                expires: row.get(4)?,
                team: row.get(5)?,
            })
        })
        .optional()?;
    let Some(row) = row else { return Ok(()) };
    for (uid, in_ms) in jobs {
        let (uid, due) = (Some(uid), row.due.max(now.saturating_add(*in_ms)));
        insert(tx, &NewJob { uid, due, ..row })?;
    }
    Ok(())
}

/// The columns that [`job`] reads, of job `j`, its message `m` and conversation `c`. They do not include the
/// payload, which may take many pages.
const JOB_COLUMNS: &str = "j.id, m.mid, c.conv, m.seq, m.sender, j.uid, j.after, j.attempts, j.made, j.due, j.expires
     FROM push_jobs j CROSS JOIN messages m ON m.id = j.message CROSS JOIN conversations c ON c.id = m.conv_id";

fn job(row: &Row<'_>, now: UnixMillis) -> rusqlite::Result<PushJob> {
    Ok(PushJob {
        id: JobId(row.get(0)?),
        mid: row.mid(1)?,
        conv: row.conv(2)?,
        seq: row.seq(3)?,
        from: row.uid(4)?,
        to: match row.uid(5)? {
            Some(uid) => JobRecipients::User(uid),
            None => JobRecipients::Team(row.uid(6)?),
        },
        attempts: row.get(7)?,
        age_ms: now.saturating_sub(row.get(8)?),
        due: row.get(9)?,
        expires_in_ms: row.get::<_, u64>(10)?.saturating_sub(now),
    })
}

/// Claims the jobs that are due, and returns them. The claim began at the time `now` of the steady clock.
pub(super) fn claim(
    db: &Connection,
    query: &JobQuery,
    now: UnixMillis,
    claim: &mut Claim,
) -> rusqlite::Result<DueJobs> {
    let (lane, last) = (query.lane as i64, number(now.saturating_add(query.within_ms)));
    let (due, id) = match query.from {
        JobsFrom::DueSince(ms) => (now.saturating_sub(ms), 0),
        JobsFrom::After(due, JobId(id)) => (due, id),
    };
    // Two statements, so that each has an index.
    let user = match query.uid {
        Some(_) => "j.uid = ?5",
        None => "?5 IS NULL",
    };
    let mut select = db.prepare_cached(&format!(
        "SELECT {JOB_COLUMNS} WHERE j.dead = 0 AND {user} AND j.lane = ?1 AND (j.due, j.id) > (?2, ?3)
             AND j.due <= ?4
         ORDER BY j.due, j.id",
    ))?;
    let uid = query.uid.as_ref().map(Uid::as_str);
    let mut rows = select.query(params![lane, number(due), id, last, uid])?;
    let mut jobs = Vec::new();
    while (jobs.len() as u32) < query.limit
        && let Some(row) = rows.next()?
    {
        if claim.take(JobId(row.get(0)?)) {
            jobs.push(job(row, now)?);
        }
    }
    let next: Option<UnixMillis> = db
        .prepare_cached("SELECT min(due) FROM push_jobs WHERE dead = 0 AND lane = ?1 AND due > ?2")?
        .query_row(params![lane, last], |row| row.get(0))?;
    Ok(DueJobs {
        jobs,
        next_in_ms: next.map(|due| due.saturating_sub(now)),
    })
}

/// Returns whether `uid` must be notified of a message, and the content of the notification.
pub(super) fn to_tell(db: &Connection, uid: &Uid, conv: ConvId, seq: Seq) -> rusqlite::Result<ToTell> {
    let found: Option<(i64, u16, i64, bool)> = db
        .prepare_cached(
            "SELECT c.id, m.kind, max(p.read, c.gone), p.member = 1 AND p.joined >= ?3
             FROM conversations c CROSS JOIN messages m ON m.conv_id = c.id AND m.seq = ?3
             CROSS JOIN participants p ON p.uid = ?1 AND p.conv_id = c.id
             WHERE c.conv = ?2 AND c.closed = 0 AND m.recalled = 0",
        )?
        .query_row(params![uid.as_str(), conv.0, number(seq.0)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((conv_id, kind, read, joined_later)) = found else {
        return Ok(ToTell::Moot);
    };
    if joined_later || (kind == CALL && is_over(db, conv_id, seq)?) {
        return Ok(ToTell::Moot);
    }
    if read >= number(seq.0) || is_acknowledged(db, uid, conv_id, seq)? {
        return Ok(ToTell::Acknowledged);
    }
    let message = db
        .prepare_cached(&format!(
            "SELECT {MESSAGE_COLUMNS} FROM messages m JOIN conversations c ON c.id = m.conv_id
             WHERE m.conv_id = ?1 AND m.seq = ?2"
        ))?
        .query_row(params![conv_id, number(seq.0)], message)?;
    Ok(ToTell::Yes(Box::new(message), conversations::unread(db, uid)?))
}

/// Returns whether the video call to which message `seq` invites has ended: a later message says so.
fn is_over(db: &Connection, conv_id: i64, seq: Seq) -> rusqlite::Result<bool> {
    // SQLite uses the index of such messages only for a constant.
    db.prepare_cached(&format!(
        "SELECT 1 FROM messages INDEXED BY messages_of_ended_calls
         WHERE conv_id = ?1 AND seq > ?2 AND kind = {CALL_END} LIMIT 1"
    ))?
    .exists(params![conv_id, number(seq.0)])
}

/// Returns whether one of the user's devices has acknowledged message `seq` or a later one. A device that was
/// first seen after the message has not acknowledged it by that.
fn is_acknowledged(db: &Connection, uid: &Uid, conv_id: i64, seq: Seq) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM devices d CROSS JOIN cursors k ON k.device_id = d.id AND k.conv_id = ?2
         WHERE d.uid = ?1 AND k.seq >= ?3 LIMIT 1",
    )?
    .exists(params![uid.as_str(), conv_id, number(seq.0)])
}

/// Counts the jobs.
pub(super) fn counts(db: &Connection) -> rusqlite::Result<JobCounts> {
    db.prepare_cached(
        "SELECT (SELECT count(*) FROM push_jobs WHERE dead = 0 AND lane < ?1),
             (SELECT count(*) FROM (SELECT 1 FROM push_jobs WHERE dead = 1 LIMIT ?2))",
    )?
    .query_row(params![Lane::Delivered as i64, JobCounts::MOST_DEAD], |row| {
        Ok(JobCounts {
            waiting: row.get(0)?,
            dead: row.get(1)?,
        })
    })
}
