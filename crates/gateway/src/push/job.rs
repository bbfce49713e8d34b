//! Claimed jobs, with the times of this process's clock.

use std::ops::Deref;

use super::now;
use crate::store::{JobQuery, JobRecipients, PushJob, Store, StoreError};
use crate::time::UnixMillis;

/// How long a claimed job is reserved for this worker, which extends the lease while it works on the job.
/// If this node ends, others notice within 10 seconds, and take the jobs over after this time.
pub(super) const LEASE_MS: u64 = 20_000;

/// A claimed job.
pub(super) struct Job {
    stored: PushJob,
    /// When the message was committed.
    pub(super) made: UnixMillis,
    /// Time from which no attempt begins.
    pub(super) expires: UnixMillis,
}

impl Job {
    /// A job that was claimed at this time.
    pub(super) fn claimed(stored: PushJob, at: UnixMillis) -> Self {
        Self {
            made: at.saturating_sub(stored.age_ms),
            expires: at.saturating_add(stored.expires_in_ms),
            stored,
        }
    }

    /// The job with these remaining recipients.
    pub(super) fn with(mut self, to: JobRecipients) -> Self {
        self.stored.to = to;
        self
    }
}

impl Deref for Job {
    type Target = PushJob;

    fn deref(&self) -> &PushJob {
        &self.stored
    }
}

/// Claims jobs. Returns them, and when the next job is due.
pub(super) async fn claim(
    store: &dyn Store,
    query: JobQuery,
) -> Result<(Vec<Job>, Option<UnixMillis>), StoreError> {
    let at = now();
    let due = store.claim_jobs(query, LEASE_MS).await?;
    let next = due.next_in_ms.map(|ms| at.saturating_add(ms));
    let jobs = due.jobs.into_iter().map(|job| Job::claimed(job, at)).collect();
    Ok((jobs, next))
}
