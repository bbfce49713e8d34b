//! Push jobs: one row for each message, created with it and kept until all its recipients were handled.

use mynah_store::ids::{ConvId, Mid, Seq, Uid};
use mynah_store::{
    DueJobs, JobCounts, JobId, JobOutcome, JobQuery, JobRecipients, JobsFrom, PushJob, ToTell, UnixMillis,
};
use tokio_postgres::Row;

use super::conversations;
use super::failure::Failure;
use super::rows::Moment;
use super::rules::TestClock;
use super::session::{Session, Value};
use super::values::{Columns, message_columns, stored, uuid};

/// S2C_VIDEOCALL_INVITE and S2C_VIDEOCALL_END: a user is not notified of a video call that has ended.
const CALL: i32 = 18;
const CALL_END: i32 = 19;

const FINISH: &str = "DELETE FROM push_jobs WHERE id = ANY ($1::bigint[])";
const RETRY: &str = "UPDATE push_jobs j SET attempts = attempts + 1, due = q.due, leased_until = NULL
     FROM unnest($1::bigint[], $2::bigint[]) AS q(id, due) WHERE j.id = q.id";
const LATER: &str = "UPDATE push_jobs j SET due = q.due, leased_until = NULL
     FROM unnest($1::bigint[], $2::bigint[]) AS q(id, due) WHERE j.id = q.id";
const DELIVERED: &str = "UPDATE push_jobs j SET due = q.due, lane = 2, leased_until = NULL
     FROM unnest($1::bigint[], $2::bigint[]) AS q(id, due) WHERE j.id = q.id";
const BURY: &str = "UPDATE push_jobs SET dead = true WHERE id = ANY ($1::bigint[])";
const ADVANCE: &str = "WITH job AS (UPDATE push_jobs SET after = $2 WHERE id = $1 RETURNING *)
     INSERT INTO push_jobs (conv, seq, uid, team, lane, made, due, expires)
     SELECT job.conv, job.seq, q.uid, true, job.lane, job.made, greatest(job.due, q.due), job.expires
     FROM job, unnest($3::text[], $4::bigint[]) AS q(uid, due)";

/// The columns that [`job`] reads.
macro_rules! jobs {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, m.mid, j.conv, j.seq, m.sender, j.uid, j.after, j.attempts, j.made, j.due, j.expires
             FROM push_jobs j JOIN messages m ON m.conv = j.conv AND m.seq = j.seq ",
            $rest
        )
    };
}
/// Jobs that nobody has claimed. `$6` is the present time.
macro_rules! due {
    ($user:literal) => {
        concat!(
            "WHERE NOT j.dead AND j.lane = $1 AND (j.due, j.id) > ($2, $3) AND j.due <= $4 ",
            $user,
            " AND coalesce(j.leased_until, 0) <= $6
             ORDER BY j.due, j.id LIMIT $5"
        )
    };
}
macro_rules! due_jobs {
    ($user:literal) => {
        concat!(jobs!(""), due!($user))
    };
}
/// Claims them until `$6` + `$7` for node `$8`.
macro_rules! claim {
    ($user:literal) => {
        concat!(
            "WITH picked AS (SELECT j.id FROM push_jobs j ",
            due!($user),
            " FOR UPDATE SKIP LOCKED),
             taken AS (UPDATE push_jobs t SET leased_until = $6 + $7, leased_by = $8 FROM picked
                 WHERE t.id = picked.id RETURNING t.*)
             SELECT j.id, m.mid, j.conv, j.seq, m.sender, j.uid, j.after, j.attempts, j.made, j.due, j.expires
             FROM taken j JOIN messages m ON m.conv = j.conv AND m.seq = j.seq ORDER BY j.due, j.id"
        )
    };
}
const DUE: &str = due_jobs!("");
const DUE_OF: &str = due_jobs!("AND j.uid = $7");
const CLAIM: &str = claim!("");
const CLAIM_OF: &str = claim!("AND j.uid = $9");
const RELEASE: &str =
    "UPDATE push_jobs SET leased_until = NULL WHERE id = ANY ($1::bigint[]) AND leased_by = $2";
const EXTEND: &str =
    "UPDATE push_jobs SET leased_until = $1 WHERE leased_by = $2 AND leased_until IS NOT NULL";
const NEXT: &str = "SELECT min(due) FROM push_jobs WHERE NOT dead AND lane = $1 AND due > $2";
const COUNTS: &str = "SELECT (SELECT count(*) FROM push_jobs WHERE NOT dead AND lane IN (0, 1)),
     (SELECT count(*) FROM push_jobs WHERE dead)";

const REVIVE: &str = "UPDATE push_jobs j SET lane = CASE WHEN m.kind = $4 THEN 0 ELSE 1 END, due = $3
     FROM messages m WHERE m.conv = j.conv AND m.seq = j.seq
         AND NOT j.dead AND j.uid = $1 AND j.lane = 2 AND j.made > $2";
/// The jobs of the user's teams that have handled the user already.
const REVIVE_OF_TEAMS: &str = "INSERT INTO push_jobs (conv, seq, uid, team, lane, made, due, expires)
     SELECT j.conv, j.seq, $1, true, 1, j.made, $3, j.expires
     FROM participants p JOIN push_jobs j ON j.conv = p.conv JOIN messages m ON m.conv = j.conv AND m.seq = j.seq
     WHERE p.uid = $1 AND p.member AND NOT j.dead AND j.uid IS NULL AND j.made > $2
         AND (j.lane = 2 OR j.after >= $1) AND m.seq > p.joined AND m.sender IS DISTINCT FROM $1
         AND NOT EXISTS (SELECT FROM push_jobs o WHERE NOT o.dead AND o.uid = $1 AND o.conv = j.conv AND o.seq = j.seq)";

const TO_TELL: &str = concat!(
    "SELECT greatest(p.read, c.gone) >= m.seq
             OR EXISTS (SELECT FROM devices v JOIN cursors k ON k.device_id = v.id AND k.conv = c.conv
                 WHERE v.uid = $1 AND k.seq >= $3 AND k.acked), ",
    message_columns!(),
    " FROM conversations c JOIN messages m ON m.conv = c.conv AND m.seq = $3
         JOIN participants p ON p.uid = $1 AND p.conv = c.conv
     WHERE c.conv = $2 AND NOT c.closed AND NOT m.recalled AND NOT (p.member AND p.joined >= $3)
         AND NOT (m.kind = $4 AND EXISTS
             (SELECT FROM messages e WHERE e.conv = c.conv AND e.seq > $3 AND e.kind = $5))"
);

const BOUND_ALL: &str =
    "UPDATE push_jobs SET due = least(due, $1), expires = least(expires, $2), made = least(made, $3)
     WHERE NOT dead AND (due > $1 OR expires > $2 OR made > $3)";

/// Limits stored deadlines to the longest possible ones, in milliseconds from now: the clock by which they
/// were made may have been wrong.
pub(super) async fn bound(
    session: &Session,
    now: UnixMillis,
    (wait, life): (u64, u64),
) -> Result<(), Failure> {
    let (due, expires) = (stored(now.saturating_add(wait)), stored(now.saturating_add(life)));
    session
        .execute(BOUND_ALL, &[&due, &expires, &stored(now)])
        .await?;
    Ok(())
}

/// Stores the outcomes of jobs at the time `now`, in order. Does nothing for a job that does not exist any
/// more.
pub(super) async fn finish(
    session: &Session,
    now: UnixMillis,
    outcomes: &[(JobId, &JobOutcome)],
) -> Result<(), Failure> {
    let same = |a: &(JobId, &JobOutcome), b: &(JobId, &JobOutcome)| {
        std::mem::discriminant(a.1) == std::mem::discriminant(b.1)
    };
    for run in outcomes.chunk_by(same) {
        let ids: Vec<_> = run.iter().map(|(id, _)| id.0).collect();
        let due: Vec<_> = run
            .iter()
            .map(|(_, outcome)| match outcome {
                JobOutcome::Delivered { for_ms: ms }
                | JobOutcome::Retry { in_ms: ms }
                | JobOutcome::Later { in_ms: ms } => stored(now.saturating_add(*ms)),
                _ => 0,
            })
            .collect();
        match run[0].1 {
            JobOutcome::Finished => session.execute(FINISH, &[&ids]).await?,
            JobOutcome::Retry { .. } => session.execute(RETRY, &[&ids, &due]).await?,
            JobOutcome::Later { .. } => session.execute(LATER, &[&ids, &due]).await?,
            JobOutcome::Delivered { .. } => session.execute(DELIVERED, &[&ids, &due]).await?,
            JobOutcome::Dead => session.execute(BURY, &[&ids]).await?,
            JobOutcome::Advanced { .. } => {
                for (id, outcome) in run {
                    advance(session, now, *id, outcome).await?;
                }
                0
            }
        };
    }
    Ok(())
}

async fn advance(session: &Session, now: UnixMillis, id: JobId, outcome: &JobOutcome) -> Result<(), Failure> {
    let JobOutcome::Advanced { after, jobs } = outcome else {
        return Ok(());
    };
    let uids: Vec<_> = jobs.iter().map(|(uid, _)| uid.as_str()).collect();
    let due: Vec<_> = jobs
        .iter()
        .map(|(_, in_ms)| stored(now.saturating_add(*in_ms)))
        .collect();
    session
        .execute(ADVANCE, &[&id.0, &after.as_str(), &uids, &due])
        .await?;
    Ok(())
}

/// See [`Store::revive_jobs`](mynah_store::Store::revive_jobs). A team's job is revived only for members that
/// it has handled already.
pub(super) async fn revive(
    session: &Session,
    now: UnixMillis,
    (uid, within_ms): (&Uid, u64),
) -> Result<(), Failure> {
    let (since, now) = (stored(now.saturating_sub(within_ms)), stored(now));
    session
        .execute(REVIVE, &[&uid.as_str(), &since, &now, &CALL])
        .await?;
    session
        .execute(REVIVE_OF_TEAMS, &[&uid.as_str(), &since, &now])
        .await?;
    Ok(())
}

fn job(row: &Row, now: u64) -> Result<PushJob, Failure> {
    let mut row = Columns::of(row);
    Ok(PushJob {
        id: JobId(row.take()?),
        mid: Mid(row.take()?),
        conv: row.conv()?,
        seq: Seq(row.number()?),
        from: row.uid()?,
        to: match (row.uid()?, row.uid()?) {
            (Some(uid), _) => JobRecipients::User(uid),
            (None, after) => JobRecipients::Team(after),
        },
        attempts: row.take::<i32>()?.unsigned_abs(),
        age_ms: now.saturating_sub(row.number()?),
        due: row.number()?,
        expires_in_ms: row.number()?.saturating_sub(now),
    })
}

/// Jobs that are due and that nobody has claimed, and when the next one is. `clock` takes the place of
/// PostgreSQL's; `base` is added to all ids.
pub(super) async fn due(
    session: &Session,
    query: &JobQuery,
    base: i64,
    clock: Option<TestClock>,
) -> Result<DueJobs, Failure> {
    let now = match clock {
        Some(clock) => clock().1,
        None => Moment::read(session, base).await?.steady,
    };
    let asked = Asked::of(query, now);
    let mut values = asked.values();
    let uid = query.uid.as_ref().map(Uid::as_str);
    let found = match &uid {
        None => session.query(DUE, &values).await?,
        Some(uid) => {
            values.push(uid);
            session.query(DUE_OF, &values).await?
        }
    };
    asked.result(session, &found).await
}

/// Claims such jobs at `now` for this node.
pub(super) async fn claim(
    session: &Session,
    (query, lease_ms): (&JobQuery, u64),
    now: UnixMillis,
    node: i64,
) -> Result<DueJobs, Failure> {
    let asked = Asked::of(query, now);
    let lease = stored(lease_ms);
    let mut values = asked.values();
    values.extend([&lease as Value<'_>, &node]);
    let uid = query.uid.as_ref().map(Uid::as_str);
    let found = match &uid {
        None => session.query(CLAIM, &values).await?,
        Some(uid) => {
            values.push(uid);
            session.query(CLAIM_OF, &values).await?
        }
    };
    asked.result(session, &found).await
}

/// The values of a query.
struct Asked {
    lane: i16,
    after: (i64, i64),
    due: i64,
    limit: i64,
    now: i64,
}

impl Asked {
    fn of(query: &JobQuery, now: UnixMillis) -> Self {
        let after = match query.from {
            JobsFrom::DueSince(ms) => (now.saturating_sub(ms), JobId(0)),
            JobsFrom::After(due, id) => (due, id),
        };
        Self {
            lane: query.lane as i16,
            after: (stored(after.0), after.1.0),
            due: stored(now.saturating_add(query.within_ms)),
            limit: i64::from(query.limit),
            now: stored(now),
        }
    }

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            &self.lane,
            &self.after.0,
            &self.after.1,
            &self.due,
            &self.limit,
            &self.now,
        ]
    }

    async fn result(&self, session: &Session, found: &[Row]) -> Result<DueJobs, Failure> {
        let next = session.query(NEXT, &[&self.lane, &self.due]).await?;
        let next = match next.first() {
            Some(row) => Columns::of(row).some_number()?,
            None => None,
        };
        let now = self.now.unsigned_abs();
        Ok(DueJobs {
            jobs: found.iter().map(|row| job(row, now)).collect::<Result<_, _>>()?,
            next_in_ms: next.map(|due| due.saturating_sub(now)),
        })
    }
}

/// Ends leases of this node.
pub(super) async fn release(session: &Session, jobs: &[JobId], node: i64) -> Result<(), Failure> {
    let ids: Vec<_> = jobs.iter().map(|id| id.0).collect();
    session.execute(RELEASE, &[&ids, &node]).await?;
    Ok(())
}

/// Makes all leases of this node end at `until`.
pub(super) async fn extend(session: &Session, until: UnixMillis, node: i64) -> Result<(), Failure> {
    session.execute(EXTEND, &[&stored(until), &node]).await?;
    Ok(())
}

/// Counts the jobs.
pub(super) async fn counts(session: &Session) -> Result<JobCounts, Failure> {
    let rows = session.query(COUNTS, &[]).await?;
    let mut row = Columns::of(rows.first().ok_or(Failure::Defect("no count"))?);
    Ok(JobCounts {
        waiting: row.number()?,
        dead: row.number()?,
    })
}

/// Whether `uid` is to be notified of a message, and the content of the notification.
pub(super) async fn to_tell(session: &Session, uid: &Uid, conv: ConvId, seq: Seq) -> Result<ToTell, Failure> {
    let values: [Value<'_>; 5] = [&uid.as_str(), &uuid(conv), &stored(seq.0), &CALL, &CALL_END];
    let rows = session.query(TO_TELL, &values).await?;
    let Some(row) = rows.first() else {
        return Ok(ToTell::Moot);
    };
    let mut row = Columns::of(row);
    if row.take()? {
        return Ok(ToTell::Acknowledged);
    }
    let message = row.message()?.ok_or(Failure::Defect("a message is missing"))?;
    Ok(ToTell::Yes(
        Box::new(message),
        conversations::unread(session, uid).await?,
    ))
}
