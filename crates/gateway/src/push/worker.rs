//! Processes push jobs: one loop that reads, decides and begins attempts, and a task for each attempt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};

use super::attempt::{Attempts, Outcomes};
use super::backoff::Backoff;
use super::job::{Job, LEASE_MS, claim};
use super::plan::{MEMBERS_PER_TURN, PAGES_PER_TURN, Plan, Plans};
use super::queue::Ready;
use super::{Provider, Reached, Settle, Wake, now};
use crate::config;
use crate::ids::Uid;
use crate::metrics::Metrics;
use crate::store::{JobId, JobOutcome, JobQuery, Lane, Store, StoreError};
use crate::time::UnixMillis;

/// The maximum number of jobs that are claimed, and whose outcome is not stored yet.
const MAX_HELD: usize = 16_384;
/// One of this many attempts is reserved for urgent jobs.
const RESERVED_PART: usize = 8;
/// Time between two reads of jobs that are not urgent.
const BETWEEN_READS_MS: u64 = 50;
/// Time between two counts of the pending jobs, and between two searches for delivered jobs that can be
/// finished.
const BETWEEN_COUNTS_MS: u64 = 1_000;
/// Time between two reads of all jobs.
const BETWEEN_REWINDS_MS: u64 = 60_000;
/// How long the worker sleeps if no job waits.
const IDLE_MS: u64 = 30_000;
/// How long the worker waits while the store is unavailable.
const TROUBLE_WAIT_MS: u64 = 1_000;
/// The number of jobs in [`Lane::Delivered`] that are finished at once.
const SWEPT: u32 = 1_024;

/// What the store has reported about outcomes.
#[derive(Default)]
struct Noted {
    /// Outcomes that are stored, with the time until the job is due again, in milliseconds.
    written: Vec<(JobId, Option<u64>)>,
    /// Outcomes to be written again. The notifications are not repeated for that.
    failed: Outcomes,
}

/// The state that the loop shares with callbacks of the store.
#[derive(Default)]
struct Notes {
    noted: Mutex<Noted>,
    some: Notify,
}

/// The worker that processes push jobs.
pub(crate) struct Worker {
    pub(super) attempts: Arc<Attempts>,
    wake: Arc<Wake>,
    notes: Arc<Notes>,
    /// The maximum number of attempts in flight, and how many of them may be for jobs that are not urgent.
    places: usize,
    normal_places: usize,
    pub(super) plans: Plans,
    pub(super) tasks: JoinSet<JobOutcome>,
    in_flight: HashMap<Id, InFlight>,
    /// The number of jobs that are claimed, and whose outcome is not stored yet.
    held: usize,
    /// Jobs of teams that continue once their progress is stored.
    advanced: HashMap<JobId, (Job, Uid, bool)>,
    unwritten: Outcomes,
    /// The number of jobs that were created before the last read.
    seen: u64,
    /// The number of jobs that waited at the last count.
    waiting: u64,
    pub(super) times: Times,
}

/// An attempt in flight.
struct InFlight {
    ready: Arc<Ready>,
    urgent: bool,
}

/// The times at which the loop does its periodic work.
pub(super) struct Times {
    /// Jobs from before the start are read from this time on, unless they are urgent: their users are
    /// reconnecting.
    old_jobs: Option<UnixMillis>,
    read: UnixMillis,
    count: UnixMillis,
    pub(super) rewind: UnixMillis,
    extend: UnixMillis,
    retry: UnixMillis,
}

impl Worker {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        reached: Arc<Reached>,
        provider: Box<dyn Provider>,
        metrics: Arc<Metrics>,
        settings: &config::Push,
    ) -> Self {
        let begun = now();
        let places = settings.concurrency;
        let reserved = places.div_ceil(RESERVED_PART).min(places - 1);
        let wake = reached.wake.clone();
        Self {
            attempts: Arc::new(Attempts {
                store,
                reached,
                provider,
                metrics,
                backoff: Backoff {
                    initial_ms: settings.retry_initial_ms,
                    max_ms: settings.retry_max_ms,
                },
            }),
            wake,
            notes: Arc::default(),
            places,
            normal_places: places - reserved,
            plans: Plans {
                urgent: Plan::new(Lane::Urgent, 0),
                normal: Plan::new(Lane::Normal, begun),
            },
            tasks: JoinSet::new(),
            in_flight: HashMap::new(),
            held: 0,
            advanced: HashMap::new(),
            unwritten: Outcomes::new(),
            seen: 0,
            waiting: 0,
            times: Times {
                old_jobs: Some(begun.saturating_add(2 * settings.delay_ms)),
                read: 0,
                count: 0,
                rewind: begun.saturating_add(BETWEEN_REWINDS_MS),
                extend: 0,
                retry: 0,
            },
        }
    }

    /// Processes jobs until the worker is dropped, or until the server stops.
    pub(crate) async fn run(mut self, settle: Arc<Settle>) {
        let (wake, notes) = (self.wake.clone(), self.notes.clone());
        loop {
            let wait = self.turn().await;
            tokio::select! {
                biased;
                () = settle.asked.notified() => {
                    self.settle().await;
                    settle.settled.notify_one();
                    return;
                }
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    let mut outcomes = Outcomes::new();
                    outcomes.extend(self.landed(ended));
                    while let Some(ended) = self.tasks.try_join_next_with_id() {
                        outcomes.extend(self.landed(ended));
                    }
                    self.note(outcomes);
                }
                () = notes.some.notified() => self.take_notes(),
                () = wake.sleep(wait, self.seen) => {
                    // The cause of the wake-up is not known.
                    for plan in self.plans.both() {
                        plan.look = true;
                    }
                }
            }
        }
    }

    /// Does everything that can be done now. Returns the time until there is more to do.
    async fn turn(&mut self) -> Duration {
        let now = now();
        self.revive();
        self.look_again(now);
        if now >= self.times.retry {
            let unwritten = std::mem::take(&mut self.unwritten);
            self.note(unwritten);
            if let Err(error) = self.work(now).await {
                tracing::warn!(%error, "push jobs could not be read");
                self.times.retry = now + TROUBLE_WAIT_MS;
            }
        }
        self.begin();
        Duration::from_millis(self.wait())
    }

    /// Does the periodic work.
    fn look_again(&mut self, now: UnixMillis) {
        if self.times.old_jobs.is_some_and(|at| now >= at) {
            self.times.old_jobs = None;
            self.plans.normal.rewind();
        }
        if now >= self.times.rewind {
            self.times.rewind = now + BETWEEN_REWINDS_MS;
            self.attempts.reached.forget_old();
            self.plans.urgent.rewind();
            if self.times.old_jobs.is_none() {
                self.plans.normal.rewind();
            }
        }
        if self.held > 0 && now.abs_diff(self.times.extend) >= LEASE_MS / 4 {
            self.times.extend = now;
            self.attempts.store.extend_leases(LEASE_MS);
        }
        for plan in self.plans.both() {
            plan.look |= plan.next.is_some_and(|next| next <= now);
        }
    }

    /// Makes jobs due again whose messages were written to connections that have proved to be dead.
    fn revive(&self) {
        for (uid, heard) in self.attempts.reached.take_vanished() {
            let wake = self.wake.clone();
            let within_ms = now().saturating_sub(heard);
            let done = move |revived: Result<(), StoreError>| match revived {
                Ok(()) => wake.due_in(0),
                Err(error) => tracing::warn!(%error, "the user of a dead connection is not notified"),
            };
            self.attempts.store.revive_jobs(uid, within_ms, Box::new(done));
        }
    }

    /// Reads jobs and decides about them.
    async fn work(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        let made = self.wake.made();
        self.plans.urgent.look |= made != self.seen;
        if self.held < MAX_HELD {
            self.refill(true).await?;
        }
        let rested = now.abs_diff(self.times.read) >= BETWEEN_READS_MS;
        if rested && self.held < MAX_HELD {
            self.times.read = now;
            self.plans.normal.look |= made != self.seen;
            self.seen = made;
            self.refill(false).await?;
        }
        if now.abs_diff(self.times.count) >= BETWEEN_COUNTS_MS {
            self.times.count = now;
            self.take_over().await?;
            self.sweep().await?;
            let counts = self.attempts.store.job_counts().await?;
            self.waiting = counts.waiting;
            self.attempts.metrics.push_pending.set(counts.waiting as i64);
        }
        Ok(())
    }

    /// Claims the jobs of a lane that are due, and continues with teams.
    async fn refill(&mut self, urgent: bool) -> Result<(), StoreError> {
        let (plan, mut outcomes) = (self.plans.of(urgent), Outcomes::new());
        let refilled = plan.refill(&self.attempts, &mut self.held, &mut outcomes).await;
        self.note(outcomes);
        refilled?;
        self.members(urgent).await
    }

    /// Continues with teams: many small ones, or a part of a large one.
    async fn members(&mut self, urgent: bool) -> Result<(), StoreError> {
        let (mut outcomes, mut made) = (Outcomes::new(), 0);
        let mut result = Ok(());
        while outcomes.len() < PAGES_PER_TURN && made < MEMBERS_PER_TURN {
            let (job, outcome) = match self.plans.of(urgent).next_members(&self.attempts).await {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            let id = job.id;
            if let JobOutcome::Advanced { after, jobs } = &outcome {
                made += jobs.len();
                self.advanced.insert(id, (job, after.clone(), urgent));
            }
            outcomes.push((id, outcome));
        }
        self.note(outcomes);
        result
    }

    /// Finishes delivered jobs whose connection has proved to be alive.
    async fn sweep(&mut self) -> Result<(), StoreError> {
        let query = JobQuery::due(Lane::Delivered, SWEPT);
        let (jobs, _) = claim(&*self.attempts.store, query).await?;
        self.held += jobs.len();
        let finished = jobs.iter().map(|job| (job.id, JobOutcome::Finished));
        self.note(finished.collect());
        Ok(())
    }

    /// Begins attempts up to the limit, urgent jobs first.
    fn begin(&mut self) {
        while self.tasks.len() < self.places {
            let Plans { urgent, normal } = &mut self.plans;
            if let Some(ready) = urgent.next_attempt() {
                self.launch(ready, true);
            } else if normal.recipients.len() < self.normal_places
                && let Some(ready) = normal.next_attempt()
            {
                self.launch(ready, false);
            } else {
                return;
            }
        }
    }

    fn launch(&mut self, ready: Ready, urgent: bool) {
        let attempts = self.attempts.clone();
        let ready = Arc::new(ready);
        let copy = ready.clone();
        let task = self
            .tasks
            .spawn(async move { attempts.attempt(&copy, urgent).await });
        self.in_flight.insert(task.id(), InFlight { ready, urgent });
    }

    /// Handles the end of an attempt. Returns its job and the outcome.
    pub(super) fn landed(
        &mut self,
        ended: Result<(Id, JobOutcome), JoinError>,
    ) -> Option<(JobId, JobOutcome)> {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let InFlight { ready, urgent } = self.in_flight.remove(&id)?;
        self.plans.of(urgent).recipients.remove(&ready.uid);
        let outcome = match ended {
            Ok((_, outcome)) => outcome,
            // The attempt has panicked, and the panic hook has reported it.
            Err(_) => self.attempts.again(&ready.job, 0),
        };
        Some((ready.job.id, outcome))
    }

    /// Passes outcomes to the store. Their jobs stay busy until they are stored.
    pub(super) fn note(&self, outcomes: Outcomes) {
        if outcomes.is_empty() {
            return;
        }
        let notes = self.notes.clone();
        let copy = outcomes.clone();
        let done = move |result: Result<(), StoreError>| {
            let mut noted = notes.noted.lock();
            match result {
                Ok(()) => noted.written.extend(
                    copy.into_iter()
                        .map(|(job, outcome)| (job, outcome.due_again_ms())),
                ),
                Err(error) => {
                    tracing::warn!(%error, "outcomes of push jobs could not be written");
                    noted.failed.extend(copy);
                }
            }
            drop(noted);
            notes.some.notify_one();
        };
        self.attempts.store.finish_jobs(outcomes, Box::new(done));
    }

    /// Handles what the store has reported about outcomes.
    fn take_notes(&mut self) {
        let noted = std::mem::take(&mut *self.notes.noted.lock());
        for (id, due_ms) in noted.written {
            let due = due_ms.map(|ms| now().saturating_add(ms));
            for plan in self.plans.both() {
                plan.next = plan.next.into_iter().chain(due).min();
            }
            match self.advanced.remove(&id) {
                Some((job, after, urgent)) => {
                    let plan = self.plans.of(urgent);
                    plan.go_on(job, after);
                    plan.look = true;
                }
                None => self.held = self.held.saturating_sub(1),
            }
        }
        if !noted.failed.is_empty() {
            self.unwritten.extend(noted.failed);
            self.times.retry = now() + TROUBLE_WAIT_MS;
        }
    }

    /// The time until something has to be done, in milliseconds.
    fn wait(&self) -> u64 {
        let now = now();
        let until = |at: UnixMillis| at.saturating_sub(now);
        let trouble = until(self.times.retry).min(TROUBLE_WAIT_MS);
        if trouble > 0 {
            return trouble;
        }
        // A node may have ended.
        let takes_over = self.attempts.reached.has_others();
        let mut wait = if self.waiting > 0 || self.held > 0 || takes_over {
            BETWEEN_COUNTS_MS
        } else {
            IDLE_MS
        };
        if let Some(at) = self.times.old_jobs {
            wait = wait.min(until(at).max(1));
        }
        for plan in [&self.plans.urgent, &self.plans.normal] {
            let rest = if plan.is_urgent() { 1 } else { BETWEEN_READS_MS };
            // If there is no room, the end of an attempt makes room and wakes the loop.
            let has_room = !plan.ready.is_full() && self.held < MAX_HELD;
            if plan.has_unread() && has_room {
                wait = wait.min(rest);
            }
            if let Some(next) = plan.next {
                wait = wait.min(until(next).max(rest));
            }
        }
        wait
    }
}
