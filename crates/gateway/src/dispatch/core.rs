//! What all parts of a running gateway share.

use std::sync::Arc;

use crate::appends::Appends;
use crate::auth::Auth;
use crate::config::Config;
use crate::delivery::{Delivery, Worker};
use crate::embed::{Listeners, Types};
use crate::fair::OneAtATime;
use crate::ids::{TeamId, Uid};
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::push::{Reached, Settle};
use crate::rate::Rates;
use crate::registry::Registry;
use crate::reject::{Code, Reject};
use crate::revocations::Revocations;
use crate::session::Link;
use crate::store::{Page, Store, StoreError};

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) kinds: Kinds,
    /// Handlers of the embedding program.
    pub(crate) types: Types,
    /// Listeners of the embedding program.
    pub(crate) listeners: Listeners,
    /// Who clients are.
    pub(crate) auth: Auth,
    pub(crate) registry: Arc<Registry<Link>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) delivery: Delivery,
    /// Sends what is not stored.
    pub(crate) sending: Worker,
    pub(crate) metrics: Arc<Metrics>,
    /// The sender of pair messages that name none.
    pub(crate) system: Uid,
    pub(crate) rates: Rates,
    pub(crate) revocations: Revocations,
    /// Slots for what waits for the store or for delivery.
    pub(crate) appends: Arc<Appends>,
    /// Teams that are being changed.
    pub(crate) changing: OneAtATime<TeamId>,
    /// Who has received which message; only if there is a push webhook.
    pub(crate) reached: Option<Arc<Reached>>,
    /// The push worker, if there is a push webhook; ends with the gateway.
    pub(crate) push: Option<Push>,
    /// What fetches the issuer's keys, where there is one; ends with the gateway.
    pub(crate) _issuer: Option<AbortOnDrop>,
}

/// The push worker.
pub(crate) struct Push {
    pub(crate) settle: Arc<Settle>,
    pub(crate) _task: AbortOnDrop,
}

/// A task that ends when this is dropped.
pub(crate) struct AbortOnDrop(pub(crate) tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Core {
    /// So many entries of the record, as far as they fit a part of a connection's queue: neither a replay nor an answer makes a slow reader
    /// of somebody who reads.
    pub(crate) fn page(&self, most: u32) -> Page {
        let bytes = self.config.limits.queue_bytes / 4;
        Page { most, bytes }
    }

    /// What a failed call of the store means for whoever asked; trouble with the store itself is told to the operator.
    pub(crate) fn trouble(&self, error: StoreError) -> Reject {
        let reject = Reject::from(error.clone());
        if reject.code == Code::Unavailable {
            tracing::warn!(%error, "the store did not do what was asked");
            self.listeners.failed(&error.to_string());
        }
        // Nothing else is too large for the store.
        if reject.code == Code::TooLarge {
            self.metrics.limited("members");
        }
        // Nothing else is too fast for it.
        if reject.code == Code::TooFast {
            self.metrics.limited("new_conversations_per_hour");
        }
        reject
    }
}
