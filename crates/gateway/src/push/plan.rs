//! Plans the work: reads the jobs that are due, finishes those that need no attempt, and prepares the others
//! for an attempt.

use std::collections::{HashSet, VecDeque};

use super::attempt::{Attempts, Outcomes};
use super::job::{Job, claim};
use super::now;
use super::queue::{MOST_OF_USER, Queue, Ready};
use super::reached::{About, Verdict};
use crate::ids::Uid;
use crate::store::{JobId, JobOutcome, JobQuery, JobRecipients, JobsFrom, Lane, StoreError};
use crate::time::UnixMillis;

/// The maximum number of jobs that are read at once.
const JOBS_PER_READ: u32 = 1_024;
/// The maximum number of users whose further jobs are read in one turn.
const USERS_PER_TURN: usize = 64;
/// The maximum number of members of a team that are read at once.
const PAGE: u32 = 500;
/// Further members of teams are read only while fewer jobs than this are ready, so that new jobs do not wait
/// behind many members.
const ENOUGH: usize = 512;
/// The maximum numbers of reads and of outcomes in one turn. They are small, so that urgent jobs are not
/// delayed.
const READS_PER_TURN: usize = 4;
const OUTCOMES_PER_TURN: usize = 4_096;
/// The maximum number of pages of members in one turn, and the number of members with jobs of their own after
/// which no further page is read in it.
pub(super) const PAGES_PER_TURN: usize = 64;
pub(super) const MEMBERS_PER_TURN: usize = PAGE as usize;
/// A job may be committed this much later than the time at which it was made.
const LATE_MS: u64 = 2_000;

/// The plans of the two lanes whose jobs need attempts.
pub(super) struct Plans {
    pub(super) urgent: Plan,
    pub(super) normal: Plan,
}

impl Plans {
    pub(super) fn of(&mut self, urgent: bool) -> &mut Plan {
        if urgent {
            &mut self.urgent
        } else {
            &mut self.normal
        }
    }

    pub(super) fn both(&mut self) -> [&mut Plan; 2] {
        [&mut self.urgent, &mut self.normal]
    }
}

/// The jobs of a lane, as far as they have been read.
pub(super) struct Plan {
    lane: Lane,
    /// Everything due before this has been read.
    read_to: UnixMillis,
    /// Where the present read continues.
    after: Option<JobsFrom>,
    /// Jobs that are due before this are not read.
    floor: UnixMillis,
    /// Whether there may be jobs to read.
    pub(super) look: bool,
    /// When the next job that has not been read is due.
    pub(super) next: Option<UnixMillis>,
    /// Jobs that wait for an attempt.
    pub(super) ready: Queue,
    /// Users with an attempt in flight. An attempt of one lane does not delay those of the other.
    pub(super) recipients: HashSet<Uid>,
    /// Users with more jobs than may be ready at a time.
    more: HashSet<Uid>,
    /// Jobs of teams whose further members are to be read.
    teams: VecDeque<Job>,
}

impl Plan {
    /// The plan of a lane. Jobs that were due before `from` are not read until [`Plan::rewind`].
    pub(super) fn new(lane: Lane, from: UnixMillis) -> Self {
        Self {
            lane,
            read_to: from,
            after: None,
            floor: from,
            look: true,
            next: None,
            ready: Queue::default(),
            recipients: HashSet::new(),
            more: HashSet::new(),
            teams: VecDeque::new(),
        }
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.lane == Lane::Urgent
    }

    /// Reads all jobs again, so that jobs are found that were committed very late or were not read before.
    pub(super) fn rewind(&mut self) {
        self.floor = 0;
        self.read_to = 0;
        self.after = None;
        self.look = true;
    }

    /// Continues with a team's job after the member `after`, up to whom its progress is stored.
    pub(super) fn go_on(&mut self, job: Job, after: Uid) {
        self.teams.push_back(job.with(JobRecipients::Team(Some(after))));
    }

    /// Whether there are jobs or members to read once there is room for them.
    pub(super) fn has_unread(&self) -> bool {
        self.look || !self.teams.is_empty() || !self.more.is_empty()
    }

    /// Returns the next job to attempt. Its user stays in `recipients` until the attempt has ended.
    pub(super) fn next_attempt(&mut self) -> Option<Ready> {
        let ready = self.ready.pop(&self.recipients)?;
        self.recipients.insert(ready.uid.clone());
        Some(ready)
    }

    /// Claims the jobs that are due, and decides about them. `held` counts the jobs that are claimed.
    pub(super) async fn refill(
        &mut self,
        attempts: &Attempts,
        held: &mut usize,
        outcomes: &mut Outcomes,
    ) -> Result<(), StoreError> {
        self.refill_users(attempts, held, outcomes).await?;
        for _ in 0..READS_PER_TURN {
            if !self.look || self.ready.is_full() || outcomes.len() >= OUTCOMES_PER_TURN {
                break;
            }
            let now = now();
            let since = JobsFrom::DueSince(now.saturating_sub(self.read_to));
            let query = JobQuery {
                from: self.after.unwrap_or(since),
                ..JobQuery::due(self.lane, JOBS_PER_READ)
            };
            let (jobs, next) = claim(&*attempts.store, query).await?;
            *held += jobs.len();
            self.next = next;
            self.look = jobs.len() as u32 == JOBS_PER_READ;
            let mut unused = Vec::new();
            let elsewhere = attempts.elsewhere(&jobs, self.is_urgent()).await;
            for (at, job) in jobs.into_iter().enumerate() {
                if self.ready.is_full() {
                    self.look = true;
                    unused.push(job.id);
                    continue;
                }
                self.after = Some(JobsFrom::After(job.due, job.id));
                let elsewhere = elsewhere.get(at).copied().flatten();
                unused.extend(self.take(job, elsewhere, attempts, outcomes));
            }
            *held -= unused.len();
            attempts.store.release_jobs(unused);
            if !self.look && self.after.take().is_some() {
                self.read_to = now.saturating_sub(LATE_MS).max(self.floor);
            }
        }
        Ok(())
    }

    /// Claims more jobs of users who had too many.
    async fn refill_users(
        &mut self,
        attempts: &Attempts,
        held: &mut usize,
        outcomes: &mut Outcomes,
    ) -> Result<(), StoreError> {
        let done = self.more.iter().filter(|uid| self.ready.of(uid) == 0);
        let done: Vec<_> = done.take(USERS_PER_TURN).cloned().collect();
        for uid in done {
            let query = JobQuery {
                uid: Some(uid.clone()),
                ..JobQuery::due(self.lane, MOST_OF_USER)
            };
            let (jobs, _) = claim(&*attempts.store, query).await?;
            *held += jobs.len();
            if (jobs.len() as u32) < MOST_OF_USER {
                self.more.remove(&uid);
            }
            let elsewhere = attempts.elsewhere(&jobs, self.is_urgent()).await;
            for (at, job) in jobs.into_iter().enumerate() {
                let elsewhere = elsewhere.get(at).copied().flatten();
                // The user has no job in the queue, so there is room for all of these.
                self.take(job, elsewhere, attempts, outcomes);
            }
        }
        Ok(())
    }

    /// Decides about a claimed job; `elsewhere` is what connections to other nodes show. Returns the id of
    /// the job if it must wait in the store.
    fn take(
        &mut self,
        job: Job,
        elsewhere: Option<Verdict>,
        attempts: &Attempts,
        outcomes: &mut Outcomes,
    ) -> Option<JobId> {
        let uid = match &job.to {
            JobRecipients::User(uid) => uid.clone(),
            JobRecipients::Team(_) => {
                if self.expired(&job) {
                    outcomes.push((job.id, JobOutcome::Finished));
                } else {
                    self.teams.push_back(job);
                }
                return None;
            }
        };
        if let Some(outcome) = attempts.without_attempt(&job, &uid, self.is_urgent(), elsewhere) {
            outcomes.push((job.id, outcome));
        } else if self.ready.of(&uid) >= MOST_OF_USER {
            self.more.insert(uid);
            return Some(job.id);
        } else {
            self.ready.push(Ready { uid, job });
        }
        None
    }

    /// Whether a team's job has expired. Members who were not read before that are not notified.
    fn expired(&self, job: &Job) -> bool {
        now() >= job.expires
    }

    /// Reads further members of a team, if there is room for those who are to be notified. Returns the
    /// outcome of the team's job, and the job itself if there are more members to read once the outcome is
    /// stored.
    pub(super) async fn next_members(
        &mut self,
        attempts: &Attempts,
    ) -> Result<Option<(Job, JobOutcome)>, StoreError> {
        if self.ready.len() >= ENOUGH {
            return Ok(None);
        }
        let Some(job) = self.teams.pop_front() else {
            return Ok(None);
        };
        match self.members_of(&job, attempts).await {
            Ok(outcome) => Ok(Some((job, outcome))),
            Err(error) => {
                self.teams.push_back(job);
                Err(error)
            }
        }
    }

    /// Decides about the next members of a team. Returns the outcome of the team's job, which is
    /// [`JobOutcome::Advanced`] unless there were none.
    pub(super) async fn members_of(&self, job: &Job, attempts: &Attempts) -> Result<JobOutcome, StoreError> {
        let after = match &job.to {
            JobRecipients::Team(after) => after.clone(),
            JobRecipients::User(_) => None,
        };
        let page = attempts
            .store
            .members_page(job.conv, job.seq, after, PAGE)
            .await?;
        let now = now();
        let Some(last) = page.last().cloned() else {
            // The job is kept as long as a member's connection may turn out to have been dead.
            let until = job.made.saturating_add(attempts.reached.heartbeat_ms());
            return Ok(match until.saturating_sub(now) {
                0 => JobOutcome::Finished,
                for_ms => JobOutcome::Delivered { for_ms },
            });
        };
        let mut jobs = Vec::new();
        let recipients: Vec<_> = page
            .iter()
            .filter(|uid| Some(*uid) != job.from.as_ref())
            .collect();
        let about = |uid| About::of(job, uid, self.is_urgent());
        let messages: Vec<_> = recipients.iter().copied().map(about).collect();
        let elsewhere = attempts.reached.elsewhere(&messages).await;
        for (at, message) in messages.iter().enumerate() {
            let uid = message.uid.clone();
            match attempts
                .reached
                .verdict(message, elsewhere.get(at).copied().flatten())
            {
                Verdict::Has | Verdict::Delivered(_) => {
                    attempts.metrics.push_skipped.inc();
                }
                Verdict::Wait(in_ms) => jobs.push((uid, in_ms)),
                Verdict::Tell => jobs.push((uid, 0)),
            }
        }
        Ok(JobOutcome::Advanced { after: last, jobs })
    }
}
