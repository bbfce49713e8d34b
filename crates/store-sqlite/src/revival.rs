//! Makes delivered push jobs due again, in parts, so that other commands do not wait for all of them.
//!
//! Invariant: a user has at most one job for each message, also if its job is made between two parts.

use std::collections::HashSet;

use mynah_store::ids::Uid;
use mynah_store::{Lane, UnixMillis};
use rusqlite::params;

use super::columns::number;
use super::jobs::{CALL, NewJob, insert};
use super::tx::Tx;

/// The maximum number of jobs in one transaction, which takes a few milliseconds. The number is small in
/// tests of this crate.
const PART: usize = if cfg!(test) { 2 } else { 1_000 };

/// The work of making a user's delivered jobs due again, and its progress. For a team's job that has handled
/// this user already, the user gets a job of its own.
pub(super) struct Revival {
    uid: Uid,
    /// Only messages that were committed after this time of the steady clock.
    since: UnixMillis,
    /// The conversation and the job of a team up to which everything is done.
    reached: (i64, i64),
    /// The messages for which the user has a job with a number below `next_job`.
    has: HashSet<i64>,
    next_job: i64,
}

impl Revival {
    pub(super) fn new(uid: Uid, since: UnixMillis) -> Self {
        Self {
            uid,
            since,
            reached: (0, 0),
            has: HashSet::new(),
            next_job: 0,
        }
    }

    /// Does the next part. Returns whether it was the last one.
    pub(super) fn go_on(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<bool> {
        let (db, uid, since) = (tx.db, self.uid.as_str(), number(self.since));
        let [urgent, normal, delivered] =
            [Lane::Urgent, Lane::Normal, Lane::Delivered].map(|lane| lane as i64);
        let due = tx.state.age.steady();
        // Each part notes the jobs that exist, because jobs may be finished before the last part.
        let new = match self.next_job {
            0 => "push_jobs INDEXED BY push_jobs_of_user WHERE dead = 0 AND uid = ?1 AND id >= ?2",
            _ => "push_jobs WHERE uid = ?1 AND id >= ?2",
        };
        let mut select = db.prepare_cached(&format!("SELECT message FROM {new}"))?;
        for message in select.query_map(params![uid, self.next_job], |row| row.get(0))? {
            self.has.insert(message?);
        }
        self.next_job = tx.state.next_job;
        let own = db
            .prepare_cached(&format!(
                "UPDATE push_jobs SET due = ?6, lane = iif(
                     (SELECT kind FROM messages WHERE id = push_jobs.message) = {CALL}, ?4, ?5)
                 WHERE id IN (SELECT id FROM push_jobs
                     WHERE dead = 0 AND uid = ?1 AND lane = ?2 AND made > ?3 LIMIT ?7)"
            ))?
            .execute(params![uid, delivered, since, urgent, normal, number(due), PART])?;
        let mut rest = PART - own;
        if rest == 0 {
            return Ok(false);
        }
        let mut teams = db.prepare_cached(
            "SELECT conv_id, joined FROM participants INDEXED BY participants_of_teams
             WHERE uid = ?1 AND member = 1 AND conv_id >= ?2 ORDER BY conv_id",
        )?;
        let mut jobs = db.prepare_cached(
            "SELECT j.id, j.message, j.made, j.expires,
                 (j.lane = ?4 OR coalesce(j.after >= ?5, 0)) AND m.seq > ?6 AND m.sender IS NOT ?5
             FROM push_jobs j INDEXED BY push_jobs_of_team CROSS JOIN messages m ON m.id = j.message
             WHERE j.conv_id = ?1 AND j.id > ?2 AND j.dead = 0 AND j.uid IS NULL AND j.made > ?3
             ORDER BY j.id LIMIT ?7",
        )?;
        let mut teams = teams.query(params![uid, self.reached.0])?;
        while let Some(team) = teams.next()? {
            let (conv_id, joined): (i64, i64) = (team.get(0)?, team.get(1)?);
            if conv_id > self.reached.0 {
                self.reached = (conv_id, 0);
            }
            let asked = params![conv_id, self.reached.1, since, delivered, uid, joined, rest];
            let found = jobs
                .query_map(asked, |row| {
                    let job = NewJob {
                        message: row.get(1)?,
                        uid: Some(&self.uid),
                        team: Some(conv_id),
                        lane: normal,
                        made: row.get(2)?,
                        due,
                        expires: row.get(3)?,
                    };
                    Ok((row.get(0)?, row.get(4)?, job))
                })?
                .collect::<rusqlite::Result<Vec<(i64, bool, NewJob<'_>)>>>()?;
            rest -= found.len();
            for (id, was_handled, job) in found {
                self.reached.1 = id;
                if was_handled && self.has.insert(job.message) {
                    insert(tx, &job)?;
                }
            }
            if rest == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
