//! The parts of a store that its threads and its callers share.

use std::sync::Arc;

use super::checkpoint::Checkpoints;
use super::health::Health;
use super::leases::Leases;
use super::open::DataDirectory;
use super::queue::Queue;
use super::reads::Readers;
use super::watchers::Watchers;

/// The shared parts of a store.
pub(super) struct Shared {
    pub(super) place: Arc<DataDirectory>,
    pub(super) queue: Queue,
    pub(super) readers: Arc<Readers>,
    pub(super) checkpoints: Checkpoints,
    pub(super) health: Health,
    pub(super) watchers: Watchers,
    pub(super) leases: Arc<Leases>,
}
