//! Works off push jobs: at once after the commit, then by retry.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::Webhook;
use super::backoff::{Backoff, dice};
use crate::clock;
use crate::config;
use crate::ids::Uid;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::session::Link;
use crate::store::{JobId, JobOutcome, JobRecipients, Message, PushJob, Store, StoreError, UnixMillis};

/// Jobs looked at in one turn.
const JOBS_PER_TURN: u32 = 512;
/// Jobs under way, or whose outcome the store does not have yet.
const MAX_BUSY: usize = 4_096;
/// Members of a team gone through between two notes of how far it got.
const PAGE: u32 = 500;
/// Notifications of one team's job under way at once, so that a large team leaves room for others.
const TEAM_CONCURRENCY: usize = 16;
/// How long it waits for a store in trouble.
const TROUBLE_WAIT: Duration = Duration::from_secs(1);
/// How long it sleeps at most.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// What the tasks of the jobs share.
pub(crate) struct Worker {
    store: Arc<dyn Store>,
    registry: Arc<Registry<Link>>,
    webhook: Webhook,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    /// Jobs under way at once.
    concurrency: usize,
    /// Notifications under way at once.
    slots: Semaphore,
    noted: Mutex<Noted>,
    noted_some: Notify,
}

/// What became of an attempt.
enum Attempt {
    Taken,
    /// It may be tried again, but not within this time.
    Failed {
        wait_ms: u64,
    },
    /// It is not tried again: the answer would be the same.
    Refused,
}

type Outcomes = Vec<(JobId, JobOutcome)>;

/// What the store said about outcomes.
#[derive(Default)]
struct Noted {
    written: Vec<JobId>,
    /// To be written again: the notifications are not repeated for it.
    failed: Outcomes,
}

impl Worker {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        registry: Arc<Registry<Link>>,
        webhook: Webhook,
        metrics: Arc<Metrics>,
        settings: &config::Push,
    ) -> Self {
        Self {
            store,
            registry,
            webhook,
            metrics,
            backoff: Backoff {
                initial_ms: settings.retry_initial_ms,
                max_ms: settings.retry_max_ms,
            },
            concurrency: settings.concurrency,
            slots: Semaphore::new(settings.concurrency),
            noted: Mutex::default(),
            noted_some: Notify::new(),
        }
    }

    /// Works until it is dropped. `due` is told after each commit with a push job.
    pub(crate) async fn run(self, due: Arc<Notify>) {
        let worker = Arc::new(self);
        let mut tasks = JoinSet::new();
        let mut busy = HashSet::new();
        let mut failed = Outcomes::new();
        loop {
            let mut wait = worker.turn(&mut tasks, &mut busy).await;
            worker.metrics.push_pending.set(busy.len() as i64);
            if !failed.is_empty() {
                wait = wait.min(TROUBLE_WAIT);
            }
            tokio::select! {
                biased;
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    let mut outcomes: Outcomes = ended.into_iter().collect();
                    while let Some(ended) = tasks.try_join_next() {
                        outcomes.extend(ended);
                    }
                    worker.note(outcomes);
                }
                () = worker.noted_some.notified() => {
                    let noted = std::mem::take(&mut *worker.noted.lock());
                    for job in noted.written {
                        busy.remove(&job);
                    }
                    failed.extend(noted.failed);
                }
                () = due.notified(), if tasks.len() < worker.concurrency => {}
                () = tokio::time::sleep(wait) => worker.note(std::mem::take(&mut failed)),
            }
        }
    }

    /// Begins what is due; returns how long there is nothing else to begin.
    async fn turn(
        self: &Arc<Self>,
        tasks: &mut JoinSet<(JobId, JobOutcome)>,
        busy: &mut HashSet<JobId>,
    ) -> Duration {
        if busy.len() >= MAX_BUSY {
            return IDLE_WAIT;
        }
        let now = clock::steady_millis();
        let known = busy.iter().copied().collect();
        let due = match self.store.due_jobs(now, known, JOBS_PER_TURN).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "push jobs could not be read");
                return TROUBLE_WAIT;
            }
        };
        let more = due.jobs.len() >= JOBS_PER_TURN as usize;
        let mut outcomes = Outcomes::new();
        for job in due.jobs {
            if let Some(outcome) = self.at_once(&job, now) {
                busy.insert(job.id);
                outcomes.push((job.id, outcome));
            } else if tasks.len() < self.concurrency {
                busy.insert(job.id);
                let worker = self.clone();
                tasks.spawn(async move { (job.id, worker.work(job).await) });
            }
        }
        let progress = !outcomes.is_empty();
        self.note(outcomes);
        match due.next {
            _ if more && progress => Duration::ZERO,
            // The end of a task wakes it.
            _ if tasks.len() >= self.concurrency => TROUBLE_WAIT,
            Some(at) => Duration::from_millis(at.saturating_sub(now).max(1)).min(IDLE_WAIT),
            None => IDLE_WAIT,
        }
    }

    /// Hands outcomes to the store; until it has them their jobs are busy.
    fn note(self: &Arc<Self>, outcomes: Outcomes) {
        if outcomes.is_empty() {
            return;
        }
        let worker = self.clone();
        let copy = outcomes.clone();
        let done = move |result: Result<(), StoreError>| {
            let mut noted = worker.noted.lock();
            match result {
                Ok(()) => noted.written.extend(copy.into_iter().map(|(job, _)| job)),
                Err(error) => {
                    tracing::warn!(%error, "outcomes of push jobs could not be written");
                    noted.failed.extend(copy);
                }
            }
            worker.noted_some.notify_one();
        };
        self.store.finish_jobs(outcomes, Box::new(done));
    }

    /// What needs no notification.
    fn at_once(&self, job: &PushJob, now: UnixMillis) -> Option<JobOutcome> {
        if now > job.expires {
            self.metrics.push_dead.inc();
            return Some(JobOutcome::Dead);
        }
        match &job.to {
            _ if job.message.recalled => Some(JobOutcome::Finished),
            JobRecipients::User(uid) if self.registry.is_online(uid) => {
                self.metrics.push_skipped.inc();
                Some(JobOutcome::Finished)
            }
            JobRecipients::User(_) | JobRecipients::Team(..) => None,
        }
    }

    async fn work(self: Arc<Self>, job: PushJob) -> JobOutcome {
        match &job.to {
            JobRecipients::User(uid) => self.user(&job, uid).await,
            JobRecipients::Team(_, after) => {
                let after = after.clone();
                self.team(job, after).await
            }
        }
    }

    async fn user(&self, job: &PushJob, uid: &Uid) -> JobOutcome {
        let wait_ms = match self.notify(uid, &job.message, job.expires).await {
            Attempt::Taken => return JobOutcome::Finished,
            Attempt::Failed { wait_ms } => wait_ms,
            Attempt::Refused => {
                self.metrics.push_dead.inc();
                return JobOutcome::Dead;
            }
        };
        let asked = clock::steady_millis().saturating_add(wait_ms);
        let at = self.retry_at(job.attempts.saturating_add(1)).max(asked);
        if at > job.expires {
            self.metrics.push_dead.inc();
            return JobOutcome::Dead;
        }
        JobOutcome::Retry { at }
    }

    /// One page of members; the store then has the job due again from there.
    async fn team(self: Arc<Self>, job: PushJob, after: Option<Uid>) -> JobOutcome {
        let (conv, seq) = (job.message.conv, job.message.seq);
        let page = match self.store.members_page(conv, seq, after, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "the members of a team could not be read");
                let at = self.retry_at(1);
                return JobOutcome::Retry { at };
            }
        };
        let Some(last) = page.last().cloned() else {
            return JobOutcome::Finished;
        };
        let (message, expires) = (Arc::new(job.message), job.expires);
        let mut failed = Vec::new();
        let mut tasks = JoinSet::new();
        for uid in page {
            if Some(&uid) == message.from.as_ref() {
                continue;
            }
            if self.registry.is_online(&uid) {
                self.metrics.push_skipped.inc();
                continue;
            }
            if tasks.len() >= TEAM_CONCURRENCY {
                let ended = tasks.join_next().await;
                failed.extend(ended.and_then(Result::ok).flatten());
            }
            let (worker, message) = (self.clone(), message.clone());
            tasks.spawn(async move {
                match worker.notify(&uid, &message, expires).await {
                    Attempt::Taken => None,
                    Attempt::Failed { .. } => Some(uid),
                    Attempt::Refused => {
                        worker.metrics.push_dead.inc();
                        None
                    }
                }
            });
        }
        failed.extend(tasks.join_all().await.into_iter().flatten());
        JobOutcome::Advanced {
            after: last,
            failed,
            retry_at: self.retry_at(1),
        }
    }

    /// One attempt.
    async fn notify(&self, uid: &Uid, message: &Message, expires: UnixMillis) -> Attempt {
        // Closed it never is.
        let _slot = self.slots.acquire().await;
        if clock::steady_millis() > expires {
            return Attempt::Failed { wait_ms: 0 };
        }
        let unread = match self.store.unread_at(uid.clone(), message.conv, message.seq).await {
            Ok(unread) => unread,
            Err(error) => {
                tracing::warn!(%error, "unread messages could not be counted");
                return Attempt::Failed { wait_ms: 0 };
            }
        };
        let begun = clock::now();
        let result = self
            .webhook
            .notify(uid, message, unread, clock::unix_millis())
            .await;
        let seconds = clock::now().duration_since(begun).as_secs_f64();
        self.metrics.push_attempt_seconds.observe(seconds);
        match result {
            Ok(()) => {
                self.metrics.push_sent.inc();
                Attempt::Taken
            }
            Err(refused) => {
                self.metrics.push_failed.inc();
                tracing::debug!(error = %refused.failure, mid = %message.mid, "a notification was not taken");
                if refused.is_final() {
                    Attempt::Refused
                } else {
                    Attempt::Failed {
                        wait_ms: refused.retry_after_ms.unwrap_or(0),
                    }
                }
            }
        }
    }

    fn retry_at(&self, failures: u32) -> UnixMillis {
        clock::steady_millis() + self.backoff.wait(failures, dice())
    }
}
