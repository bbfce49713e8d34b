//! The state that the modules of dispatch share. Other modules do not use its fields, but call the functions
//! that dispatch exports.

use std::sync::Arc;

use crate::auth::Auth;
use crate::config::Config;
use crate::delivery::{Delivery, Fanout};
use crate::directory::Registry;
use crate::embed::Program;
use crate::fair::{OneAtATime, Slot, Slots};
use crate::ids::{TeamId, Uid};
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::push::{Reached, Wake};
use crate::rate::Rates;
use crate::reject::{Code, Reject};
use crate::revocations::Revocations;
use crate::session::Link;
use crate::store::{Page, Store, StoreError, Watcher};

/// The owner of a lane, in which the owner's requests wait.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Account {
    /// A user, with all connections.
    User(Uid),
    /// A caller, by its name.
    Caller(Arc<str>),
}

/// Slots for requests that the store or the delivery is working on. Each message, acknowledgement, read
/// position, recall and change of a team holds one slot; there are `limits.appends_in_flight` in total.
///
/// A quarter of the slots is reserved for connections and callers that have nothing in flight, so that nobody
/// delays the others by sending as much as possible. A request that waits for a slot waits in the lane of its
/// user or caller.
pub(super) type Appends = Slots<Account>;

/// The slot of one request, or several slots.
pub(super) type Permit = Slot<Account>;

/// The state of dispatch.
pub(crate) struct Core {
    pub(super) config: Arc<Config>,
    pub(super) kinds: Kinds,
    /// What the embedding program has added.
    pub(super) program: Arc<Program>,
    /// How users prove who they are.
    pub(super) auth: Arc<Auth>,
    pub(super) registry: Arc<Registry<Link>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) delivery: Delivery,
    pub(super) metrics: Arc<Metrics>,
    /// The sender of pair messages whose order names no sender.
    pub(super) system: Uid,
    pub(super) rates: Rates,
    pub(super) revocations: Arc<Revocations>,
    /// Slots for requests that wait for the store or for delivery.
    pub(super) appends: Arc<Appends>,
    /// Teams that are being changed.
    pub(super) changing: OneAtATime<TeamId>,
    /// Knows which users have received which messages; `None` without a push webhook.
    pub(super) reached: Option<Arc<Reached>>,
    _tasks: Vec<AbortOnDrop>,
}

/// The arguments of [`Core::new`].
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) program: Arc<Program>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) registry: Arc<Registry<Link>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) system: Uid,
    /// Woken for each push job.
    pub(crate) wake: Arc<Wake>,
    /// `None` without a push webhook.
    pub(crate) reached: Option<Arc<Reached>>,
    /// Tasks that end with the gateway.
    pub(crate) tasks: Vec<AbortOnDrop>,
}

/// A task that is aborted when this is dropped.
pub(crate) struct AbortOnDrop(pub(crate) tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Core {
    /// Starts the tasks of delivery. Must be called in a tokio runtime.
    pub(crate) fn new(parts: Parts) -> Self {
        let limits = &parts.config.limits;
        let fanout = Fanout {
            registry: parts.registry.clone(),
            metrics: parts.metrics.clone(),
            wake: parts.wake,
        };
        let revocations = Arc::new(Revocations::default());
        let known = revocations.clone();
        let watcher = Watcher::Revocations(Box::new(move |revocation| known.add(revocation)));
        parts.store.watch(watcher);
        Self {
            kinds: Kinds::new(&parts.config.kinds),
            delivery: Delivery::start(fanout, limits.appends_in_flight),
            rates: Rates::new(limits),
            revocations,
            appends: Appends::shared(limits.appends_in_flight),
            changing: OneAtATime::default(),
            program: parts.program,
            auth: parts.auth,
            registry: parts.registry,
            store: parts.store,
            metrics: parts.metrics,
            system: parts.system,
            reached: parts.reached,
            config: parts.config,
            _tasks: parts.tasks,
        }
    }

    /// Returns a page of at most `most` entries of the history, and at most a quarter of a connection's
    /// queue. Larger pages could disconnect clients as slow readers although they read.
    pub(super) fn page(&self, most: u32) -> Page {
        let bytes = self.config.limits.queue_bytes / 4;
        Page { most, bytes }
    }

    /// Refuses a call that names more users than `limits.uids_per_call` allows, repetitions included.
    pub(crate) fn check_uids(&self, named: usize) -> Result<(), Reject> {
        let most = self.config.limits.uids_per_call;
        if named <= most {
            return Ok(());
        }
        let why = format!("A call may name at most {most} users; name the rest in another call.");
        Err(self.metrics.over("uids_per_call", Reject::too_large(why)))
    }

    /// Returns the refusal for a failed call of the store. Also counts limits that were reached, and reports
    /// failures of the store itself to the operator.
    pub(crate) fn trouble(&self, error: StoreError) -> Reject {
        let reject = Reject::from(error.clone());
        match reject.code {
            Code::Unavailable => {
                tracing::warn!(%error, "a call of the store has failed");
                self.program.listeners.failed(&error.to_string());
            }
            // The number of a team's members is the only limit of size that the store checks.
            Code::TooLarge => self.metrics.limited("members"),
            // The number of new conversations is the only rate that the store limits.
            Code::TooFast => self.metrics.limited("new_conversations_per_hour"),
            _ => {}
        }
        reject
    }

    /// The number of free slots.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn free_slots(&self) -> usize {
        self.appends.free()
    }
}
