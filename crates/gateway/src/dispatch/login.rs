//! The part of dispatch that registers connections.

use std::sync::Arc;

use super::entries::Entries;
use super::record::Record;
use super::spending::Spending;
use crate::auth::Auth;
use crate::config::Config;
use crate::directory::{Connection, Registry};
use crate::ids::Uid;
use crate::metrics::Metrics;
use crate::push::Reached;
use crate::rate::{Rate, UserBuckets};
use crate::revocations::Revocations;
use crate::session::Link;

/// Who is registered, and who may register.
pub(crate) struct Login {
    pub(super) config: Arc<Config>,
    /// How users prove who they are.
    pub(super) auth: Arc<Auth>,
    pub(super) registry: Arc<Registry<Link>>,
    pub(super) revocations: Arc<Revocations>,
    /// The rate of registers of a connection.
    pub(super) registers: Option<Rate>,
    /// The rate of registers of a user.
    pub(super) user_registers: Arc<UserBuckets<1>>,
    /// Knows which users have received which messages; `None` without a push webhook.
    pub(super) reached: Option<Arc<Reached>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) record: Arc<Record>,
    /// Says to the other nodes who is registered; `None` if there is one node.
    pub(super) entries: Option<Entries>,
    /// The limits that hold for all nodes together.
    pub(super) spending: Spending,
}

impl Login {
    /// The rates of the API keys, by name, if they hold for several nodes together.
    pub(crate) fn shared_calls(&self) -> Option<Arc<UserBuckets<1>>> {
        self.entries.as_ref().map(|_| self.spending.calls.clone())
    }

    /// Ends the registration of a connection, which may register again.
    pub(super) fn unregister(&self, connection: &Arc<Connection<Link>>) {
        if let Some(registration) = self.registry.unregister(connection) {
            self.release(&registration.uid, &connection.link);
        }
    }

    /// Must be called after a registration has ended, unless the directory of all nodes has ended it.
    pub(super) fn release(&self, uid: &Uid, link: &Link) {
        if let Some(entries) = &self.entries {
            entries.release(uid, link.outlet().sid());
        }
    }

    /// Whether the other nodes have taken this one for dead.
    pub(super) fn is_lost(&self) -> bool {
        self.entries
            .as_ref()
            .is_some_and(|entries| entries.cluster.was_stopped())
    }
}
