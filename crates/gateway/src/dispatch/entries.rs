//! What the directory of all nodes is told about the connections of this node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use mynah_cluster::{Entry, Oust};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cluster::Cluster;
use crate::directory::Registration;
use crate::ids::Uid;
use crate::session::Link;

/// The maximum number of releases in one command of the directory.
const RELEASES_AT_ONCE: usize = 500;

/// The entries of this node's connections.
pub(super) struct Entries {
    pub(super) cluster: Arc<Cluster>,
    /// By sid, what came before the answer to the connection's own claim.
    early: Mutex<HashMap<Box<str>, Oust>>,
    releases: Mutex<HashSet<(Uid, Box<str>)>>,
    released: Notify,
    /// Whether the connections that end stay in the directory, because their clients are expected back.
    stay: AtomicBool,
    /// Woken when a claim has failed.
    pub(super) failed: Notify,
}

impl Entries {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            early: Mutex::default(),
            releases: Mutex::default(),
            released: Notify::new(),
            stay: AtomicBool::new(false),
            failed: Notify::new(),
        }
    }

    /// Leaves the connections that end from now on in the directory: their users count as connected while
    /// they reconnect to other nodes.
    pub(super) fn stay(&self) {
        self.stay.store(true, Relaxed);
    }

    /// The entry of a registered connection.
    pub(super) fn entry(&self, link: &Link, registration: &Registration) -> Entry {
        Entry {
            sid: link.outlet().sid().into(),
            node: self.cluster.own(),
            device: registration.device.clone(),
            platform: registration.platform.clone(),
        }
    }

    /// Removes a connection from the directory soon. If that fails, the directory repeats it.
    pub(super) fn release(&self, uid: &Uid, sid: &str) {
        if !self.stay.load(Relaxed) && !self.cluster.was_stopped() {
            self.releases.lock().insert((uid.clone(), sid.into()));
            self.released.notify_one();
        }
    }

    /// The connection claims again: what was left of its earlier registration as this user is not released.
    pub(super) fn begins(&self, uid: &Uid, sid: &str) {
        let mut releases = self.releases.lock();
        if !releases.is_empty() {
            releases.remove(&(uid.clone(), sid.into()));
        }
    }

    /// Remembers what has removed a connection until the answer to its own claim is there.
    pub(super) fn remember(&self, oust: &Oust) {
        let mut early = self.early.lock();
        if early.get(&oust.sid).is_none_or(|known| known.order < oust.order) {
            early.insert(oust.sid.clone(), oust.clone());
        }
    }

    /// Takes what came before the answer to a connection's claim.
    pub(super) fn take_early(&self, sid: &str) -> Option<Oust> {
        self.early.lock().remove(sid)
    }

    /// Carries out releases, as many at once as there are.
    pub(super) async fn release_all(&self) {
        loop {
            let batch = self.next_releases();
            if batch.is_empty() {
                self.released.notified().await;
                continue;
            }
            let batch: Vec<_> = batch.iter().map(|(uid, sid)| (uid, &**sid)).collect();
            if let Err(failure) = self.cluster.directory().release_all(&batch).await {
                tracing::debug!(%failure, "connections are removed from the directory later");
            }
        }
    }

    fn next_releases(&self) -> Vec<(Uid, Box<str>)> {
        let mut releases = self.releases.lock();
        let batch: Vec<_> = releases.iter().take(RELEASES_AT_ONCE).cloned().collect();
        for release in &batch {
            releases.remove(release);
        }
        batch
    }
}
