//! One attempt to notify one user.

use std::sync::Arc;

use super::backoff::{Backoff, dice};
use super::job::Job;
use super::now;
use super::provider::{Notification, Notified, Provider};
use super::queue::Ready;
use super::reached::{About, Reached, Verdict};
use crate::clock;
use crate::ids::Uid;
use crate::metrics::Metrics;
use crate::store::{JobId, JobOutcome, JobRecipients, Store, ToTell};

/// The outcomes of jobs.
pub(super) type Outcomes = Vec<(JobId, JobOutcome)>;

/// What all attempts share.
pub(super) struct Attempts {
    pub(super) store: Arc<dyn Store>,
    pub(super) reached: Arc<Reached>,
    pub(super) provider: Box<dyn Provider>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) backoff: Backoff,
}

impl Attempts {
    /// Checks once more whether the user is to be notified, and sends the notification. Returns the outcome
    /// of the job.
    pub(super) async fn attempt(&self, ready: &Ready, urgent: bool) -> JobOutcome {
        let Ready { uid, job } = ready;
        // The store is asked before the verdict is made, so that an acknowledgement that arrives in between
        // is known to one of them.
        let told = self.store.to_tell(uid.clone(), job.conv, job.seq).await;
        let about = About::of(job, uid, urgent);
        let elsewhere = self.reached.elsewhere(&[about]).await;
        if let Some(outcome) = self.without_attempt(job, uid, urgent, elsewhere.first().copied().flatten()) {
            return outcome;
        }
        let (message, unread) = match told {
            Ok(ToTell::Yes(message, unread)) => (message, unread),
            Ok(ToTell::Acknowledged) => {
                self.metrics.push_skipped.inc();
                return JobOutcome::Finished;
            }
            Ok(ToTell::Moot) => return JobOutcome::Finished,
            Err(error) => {
                tracing::warn!(%error, "a message could not be read for its notification");
                return self.again(job, 0);
            }
        };
        let begun = clock::now();
        let notification = Notification {
            uid,
            message: &message,
            unread,
        };
        let notified = self.provider.notify(notification).await;
        let seconds = clock::now().duration_since(begun).as_secs_f64();
        self.metrics.push_attempt_seconds.observe(seconds);
        match notified {
            Notified::Taken => {
                self.metrics.push_sent.inc();
                JobOutcome::Finished
            }
            Notified::Retry(wait_ms) => {
                self.metrics.push_failed.inc();
                self.again(job, wait_ms)
            }
            Notified::Gone => {
                self.metrics.push_failed.inc();
                self.metrics.push_dead.inc();
                JobOutcome::Dead
            }
        }
    }

    /// What connections to other nodes show about the messages of jobs; see [`Reached::elsewhere`]. Jobs of
    /// teams are left out.
    pub(super) async fn elsewhere(&self, jobs: &[Job], urgent: bool) -> Vec<Option<Verdict>> {
        if !self.reached.has_others() {
            return Vec::new();
        }
        let (mut places, mut messages) = (Vec::new(), Vec::new());
        for (at, job) in jobs.iter().enumerate() {
            if let JobRecipients::User(uid) = &job.to {
                places.push(at);
                messages.push(About::of(job, uid, urgent));
            }
        }
        let mut verdicts = vec![None; jobs.len()];
        for (at, verdict) in places.into_iter().zip(self.reached.elsewhere(&messages).await) {
            verdicts[at] = verdict;
        }
        verdicts
    }

    /// The outcome of a job for one user that needs no attempt, if it is known already. `elsewhere` is what
    /// connections to other nodes show.
    pub(super) fn without_attempt(
        &self,
        job: &Job,
        uid: &Uid,
        urgent: bool,
        elsewhere: Option<Verdict>,
    ) -> Option<JobOutcome> {
        let now = now();
        match self.reached.verdict(&About::of(job, uid, urgent), elsewhere) {
            Verdict::Has => {
                self.metrics.push_skipped.inc();
                Some(JobOutcome::Finished)
            }
            Verdict::Delivered(for_ms) => {
                self.metrics.push_skipped.inc();
                Some(JobOutcome::Delivered { for_ms })
            }
            _ if now >= job.expires => {
                self.metrics.push_dead.inc();
                Some(JobOutcome::Dead)
            }
            Verdict::Wait(in_ms) => Some(JobOutcome::Later { in_ms }),
            Verdict::Tell => None,
        }
    }

    /// The outcome after a failed attempt: a retry, but not within `wait_ms`.
    pub(super) fn again(&self, job: &Job, wait_ms: u64) -> JobOutcome {
        let backoff_ms = self.backoff.wait(job.attempts.saturating_add(1), dice());
        let in_ms = backoff_ms.max(wait_ms);
        if now().saturating_add(in_ms) >= job.expires {
            self.metrics.push_dead.inc();
            return JobOutcome::Dead;
        }
        JobOutcome::Retry { in_ms }
    }
}
