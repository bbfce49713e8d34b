//! Settles the jobs when the server stops. Connections show which messages were received, and the next run of
//! the server does not know these connections. The jobs that are not needed are therefore finished before the
//! store is closed. Otherwise users of clients that never acknowledge would be notified of messages that they
//! have just received. The worker waits for attempts in flight, so that they are not repeated after the
//! restart.

use super::job::{Job, claim};
use super::worker::Worker;
use crate::ids::Uid;
use crate::store::{JobOutcome, JobQuery, JobRecipients, JobsFrom, Lane, StoreError};

/// The maximum number of jobs that are read at once.
const JOBS_PER_READ: u32 = 1_024;
/// The maximum number of reads. The jobs that are due first are read first.
const MOST_READS: usize = 64;
/// A job that became due within this many milliseconds may not have been read yet.
const RECENT_MS: u64 = 2_000;

impl Worker {
    /// Finishes the jobs that can be finished. No more attempts are started.
    pub(super) async fn settle(&mut self) {
        if let Err(error) = self.settle_jobs().await {
            tracing::warn!(%error, "push jobs could not be read before the server stops");
        }
        // A notification that is accepted now must not be repeated after the restart.
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let outcome = self.landed(ended);
            self.note(outcome.into_iter().collect());
        }
        // Other workers need not wait for the end of the leases to claim the jobs that are left.
        self.attempts.store.extend_leases(0);
    }

    /// Finishes the jobs that wait for their first attempt although their message was received.
    async fn settle_jobs(&mut self) -> Result<(), StoreError> {
        // Jobs that were due earlier have been decided already.
        let mut from = JobsFrom::DueSince(RECENT_MS);
        for _ in 0..MOST_READS {
            let query = JobQuery {
                from,
                within_ms: u64::MAX,
                ..JobQuery::due(Lane::Normal, JOBS_PER_READ)
            };
            let (jobs, _) = claim(&*self.attempts.store, query).await?;
            let read = jobs.len();
            for job in jobs {
                from = JobsFrom::After(job.due, job.id);
                if let JobRecipients::User(uid) = &job.to {
                    self.settle_user(&job, uid);
                } else {
                    self.settle_team(job).await?;
                }
            }
            if read < JOBS_PER_READ as usize {
                break;
            }
        }
        Ok(())
    }

    fn settle_user(&self, job: &Job, uid: &Uid) {
        if let Some(outcome @ JobOutcome::Finished) = self.attempts.without_attempt(job, uid, false, None) {
            self.note(vec![(job.id, outcome)]);
        }
    }

    /// Creates jobs for the members who have not received the message.
    async fn settle_team(&mut self, mut job: Job) -> Result<(), StoreError> {
        loop {
            let outcome = self.plans.normal.members_of(&job, &self.attempts).await?;
            self.note(vec![(job.id, outcome.clone())]);
            let JobOutcome::Advanced { after, .. } = outcome else {
                return Ok(());
            };
            job = job.with(JobRecipients::Team(Some(after)));
        }
    }
}
