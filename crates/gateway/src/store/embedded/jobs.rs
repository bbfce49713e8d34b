//! Push jobs: one row per message, made with it, until everybody whom it is for was dealt with.

use rusqlite::{Connection, params};

use super::append::Written;
use super::history::{MESSAGE_COLUMNS, message};
use super::state::{Rules, State};
use crate::ids::{TeamId, Uid};
use crate::store::{
    Append, DueJobs, JobId, JobOutcome, JobRecipients, Members, Place, PushJob, PushOrder, UnixMillis,
};

/// Makes the job of a message that was just written; `None` if it has no recipients besides its sender.
pub(super) fn make(
    db: &Connection,
    state: &mut State,
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
    let due = state.age.steady();
    insert(db, state, message.row, only, 0, due, push.expires).map(Some)
}

fn insert(
    db: &Connection,
    state: &mut State,
    message: i64,
    uid: Option<&Uid>,
    attempts: u32,
    due: UnixMillis,
    expires: UnixMillis,
) -> rusqlite::Result<JobId> {
    let id = state.next_job;
    state.next_job += 1;
    db.prepare_cached(
        "INSERT INTO push_jobs (id, message, uid, attempts, due, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        id,
        message,
        uid.map(Uid::as_str),
        attempts,
        clamp(due),
        clamp(expires)
    ])?;
    Ok(JobId(id))
}

/// Cuts the deadlines that a former run of the program has written to what they could be at most: its clock may have been wrong.
pub(super) fn bound(db: &Connection, now: UnixMillis, rules: &Rules) -> rusqlite::Result<()> {
    let due = clamp(now.saturating_add(rules.longest_push_wait_ms));
    let expires = clamp(now.saturating_add(rules.longest_push_life_ms));
    db.execute(
        "UPDATE push_jobs SET due = min(due, ?1), expires = min(expires, ?2)
         WHERE dead = 0 AND (due > ?1 OR expires > ?2)",
        [due, expires],
    )?;
    Ok(())
}

/// Writes down what became of a job; one that is gone is left alone.
pub(super) fn finish(
    db: &Connection,
    state: &mut State,
    id: JobId,
    outcome: &JobOutcome,
) -> rusqlite::Result<()> {
    match outcome {
        JobOutcome::Finished => {
            db.prepare_cached("DELETE FROM push_jobs WHERE id = ?1")?
                .execute([id.0])?;
        }
        JobOutcome::Retry { at } => {
            db.prepare_cached("UPDATE push_jobs SET attempts = attempts + 1, due = ?2 WHERE id = ?1")?
                .execute(params![id.0, clamp(*at)])?;
        }
        JobOutcome::Dead => {
            let changed = db
                .prepare_cached("UPDATE push_jobs SET dead = 1 WHERE id = ?1 AND dead = 0")?
                .execute([id.0])?;
            state.newly_dead += changed as u64;
        }
        JobOutcome::Advanced {
            after,
            failed,
            retry_at,
        } => {
            let mut update = db
                .prepare_cached("UPDATE push_jobs SET after = ?2 WHERE id = ?1 RETURNING message, expires")?;
            let mut rows = update.query(params![id.0, after.as_str()])?;
            let Some(row) = rows.next()? else { return Ok(()) };
            let (message, expires) = (row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs());
            drop(rows);
            for uid in failed {
                insert(db, state, message, Some(uid), 1, *retry_at, expires)?;
            }
        }
    }
    Ok(())
}

/// Jobs due at `now`, without those in `busy`, and when the next one is.
pub(super) fn due(
    db: &Connection,
    now: UnixMillis,
    busy: &[JobId],
    limit: usize,
) -> rusqlite::Result<DueJobs> {
    let mut found = DueJobs::default();
    let mut select = db.prepare_cached(&format!(
        "SELECT {MESSAGE_COLUMNS}, j.id, j.uid, j.after, j.attempts, j.expires, c.team
         FROM push_jobs j JOIN messages m ON m.id = j.message JOIN conversations c ON c.id = m.conv_id
         WHERE j.dead = 0 AND j.due <= ?1 ORDER BY j.due, j.id",
    ))?;
    let mut rows = select.query([clamp(now)])?;
    while found.jobs.len() < limit
        && let Some(row) = rows.next()?
    {
        let id = JobId(row.get(JOB)?);
        if busy.contains(&id) {
            continue;
        }
        let uid = |column| -> rusqlite::Result<Option<Uid>> {
            Ok(row
                .get_ref(column)?
                .as_str_or_null()?
                .and_then(|text| Uid::new(text).ok()))
        };
        let team = row
            .get_ref(JOB + 5)?
            .as_str_or_null()?
            .and_then(|text| TeamId::new(text).ok());
        let to = match (uid(JOB + 1)?, team) {
            (Some(uid), _) => JobRecipients::User(uid),
            (None, Some(team)) => JobRecipients::Team(team, uid(JOB + 2)?),
            // No version of this program writes such a row.
            (None, None) => continue,
        };
        found.jobs.push(PushJob {
            id,
            message: message(row)?,
            to,
            attempts: row.get(JOB + 3)?,
            expires: row.get::<_, i64>(JOB + 4)?.unsigned_abs(),
        });
    }
    found.next = db
        .prepare_cached("SELECT min(due) FROM push_jobs WHERE dead = 0 AND due > ?1")?
        .query_row([clamp(now)], |row| row.get::<_, Option<i64>>(0))?
        .map(i64::unsigned_abs);
    Ok(found)
}

/// Jobs that were given up.
pub(super) fn count_dead(db: &Connection) -> rusqlite::Result<u64> {
    db.query_row("SELECT count(*) FROM push_jobs WHERE dead = 1", [], |row| {
        row.get::<_, i64>(0)
    })
    .map(i64::unsigned_abs)
}

/// The first column after the message's.
const JOB: usize = super::history::MESSAGE_COLUMN_COUNT;

fn clamp(time: UnixMillis) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
