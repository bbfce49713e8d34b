//! Leases of push jobs. A leased job is being worked on and is not returned by another claim.
//!
//! They are in memory only, because a restart of the server ends them all. Invariants: a job has one lease at
//! a time; a claim never returns a job that was settled while the claim read an older state of the database.

use std::collections::HashMap;
use std::sync::Arc;

use mynah_store::{JobId, JobOutcome, UnixMillis};
use parking_lot::Mutex;

use super::clock::Clock;

/// The leases of the push jobs of one store.
pub(super) struct Leases {
    clock: Clock,
    state: Mutex<Leased>,
}

#[derive(Default)]
struct Leased {
    /// When each lease ends; `None` if the job was settled, which claims that are being read may not see.
    until: HashMap<JobId, Option<UnixMillis>>,
    /// Claims that are being read.
    claims: usize,
}

/// A claim that is being read.
pub(super) struct Claim {
    leases: Arc<Leases>,
    until: UnixMillis,
    /// Jobs whose leases end if the claim fails.
    taken: Vec<JobId>,
}

impl Leases {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// Begins a claim. It must read a state of the database that is not older than this call.
    pub(super) fn claim(self: &Arc<Self>, lease_ms: u64) -> Claim {
        let now = self.clock.steady();
        let mut state = self.state.lock();
        if state.claims == 0 {
            state
                .until
                .retain(|_, until| until.is_some_and(|until| until > now));
        }
        state.claims += 1;
        Claim {
            leases: self.clone(),
            until: now.saturating_add(lease_ms),
            taken: Vec::new(),
        }
    }

    /// The outcomes of these jobs are stored. A team's job that has advanced stays with whoever works on it.
    pub(super) fn settle(&self, outcomes: &[(JobId, JobOutcome)]) {
        let mut state = self.state.lock();
        for (id, outcome) in outcomes {
            if !matches!(outcome, JobOutcome::Advanced { .. })
                && let Some(until) = state.until.get_mut(id)
            {
                *until = None;
            }
        }
    }

    /// Ends leases of jobs that were not changed.
    pub(super) fn release(&self, jobs: &[JobId]) {
        let mut state = self.state.lock();
        for id in jobs {
            state.until.remove(id);
        }
    }

    /// Extends all leases.
    pub(super) fn extend(&self, lease_ms: u64) {
        let end = self.clock.steady().saturating_add(lease_ms);
        for until in self.state.lock().until.values_mut().flatten() {
            *until = end;
        }
    }
}

impl Claim {
    /// Takes the lease of a job, if it is free.
    pub(super) fn take(&mut self, id: JobId) -> bool {
        let now = self.leases.clock.steady();
        let mut state = self.leases.state.lock();
        let is_free = match state.until.get(&id) {
            None => true,
            Some(until) => until.is_some_and(|until| until <= now),
        };
        if is_free {
            state.until.insert(id, Some(self.until));
            self.taken.push(id);
        }
        is_free
    }

    /// The claim has succeeded.
    pub(super) fn keep(mut self) {
        self.taken.clear();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.leases.release(&self.taken);
        self.leases.state.lock().claims -= 1;
    }
}
