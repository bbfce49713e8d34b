//! The part of dispatch that registers connections.

use std::sync::Arc;

use super::record::Record;
use crate::auth::Auth;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::directory::Registry;
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
    pub(super) user_registers: UserBuckets<1>,
    /// Knows which users have received which messages; `None` without a push webhook.
    pub(super) reached: Option<Arc<Reached>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) record: Arc<Record>,
    /// The other nodes; `None` if there is one node.
    pub(super) cluster: Option<Arc<Cluster>>,
}

impl Login {
    /// Whether the other nodes have taken this one for dead.
    pub(super) fn is_lost(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.was_stopped())
    }
}
