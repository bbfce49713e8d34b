//! The directory: who is connected where, in Redis.
//!
//! Invariants: each user has one record, and each change of it is atomic. A claim applies the login policy as
//! the registry of one node does. What is in Redis may be lost at any moment: each node writes its own
//! entries again ([`Directory::refresh`]), and of entries that the policy does not allow together the later
//! claims remain. An entry that is not refreshed expires, by the clock of Redis.
//!
//! Nothing lists all users here. A set of them would be written with each register and refresh, and would
//! contain the users of a dead node until they expire. Instead all nodes are asked
//! ([`Ask::Names`](crate::Ask::Names)).

mod entry;
mod owed;
mod policy;
pub(crate) mod records;
mod redis;
mod refresh;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use mynah_store::ids::Uid;
use tokio::sync::watch;

use crate::address::Address;
use crate::failure::Failure;
use crate::ids::{ClusterName, Incarnation};
use crate::link::{State, Times};
use crate::secret::Secret;
use owed::Owed;
use records::{Claim, Records};

#[cfg(test)]
pub(crate) use entry::entries;
pub use entry::{Entry, Held};
pub use policy::{Policy, Why};
pub use records::{Claimed, Ousted, Released};
pub use refresh::Refreshed;

/// How long an entry lives without a refresh.
pub const ENTRY_LIFE: Duration = Duration::from_secs(90);
/// How often a node refreshes its entries.
pub const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// The maximum number of records in one round trip. Longer lists take several, one after the other.
const BATCH: usize = 500;

/// What a directory needs.
pub struct DirectoryConfig {
    /// Where Redis is.
    pub address: Arc<Address>,
    /// The name of the cluster.
    pub name: ClusterName,
    /// The secret of the cluster.
    pub secret: Secret,
    /// This node's run.
    pub incarnation: Incarnation,
    /// The login policy. All nodes must have the same one.
    pub policy: Policy,
    /// How long an entry lives without a refresh: [`ENTRY_LIFE`].
    pub life: Duration,
    /// Limits of time.
    pub times: Times,
}

/// See the module.
pub struct Directory {
    records: Box<dyn Records>,
    state: watch::Receiver<State>,
    interruptions: watch::Receiver<u64>,
    owed: Owed,
    /// Whether a record that cannot be read was logged.
    was_foreign: AtomicBool,
}

impl Directory {
    pub(crate) fn new(
        records: Box<dyn Records>,
        state: watch::Receiver<State>,
        interruptions: watch::Receiver<u64>,
    ) -> Self {
        Self {
            records,
            state,
            interruptions,
            owed: Owed::default(),
            was_foreign: AtomicBool::new(false),
        }
    }

    /// Whether Redis is connected, and if not, why; changes can be awaited.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Counts the moments since which Redis may lack what this node has written: it has lost its data, or the
    /// connection was lost. After each change, the node calls [`Directory::refresh`] with all of its
    /// connections at once.
    pub fn interruptions(&self) -> watch::Receiver<u64> {
        self.interruptions.clone()
    }

    /// Enters a connection for `uid` and applies the login policy. A connection that is there already claims
    /// anew. The entries of nodes in `dead` are removed without being reported; name those that have ended
    /// less than [`ENTRY_LIFE`] ago.
    ///
    /// The number of a claim is the time in microseconds by the clock of Redis, or a higher one after
    /// another claim. After [`Failure::NoAnswer`] the claim may be there; it is released with the next
    /// refresh, unless the connection claims again. If the connection closes while it claims, wait for the
    /// answer nevertheless, and release it then.
    pub async fn claim(&self, uid: &Uid, entry: &Entry, dead: &[Incarnation]) -> Result<Claimed, Failure> {
        entry.check()?;
        let claim = Claim {
            uid,
            entry,
            restores: None,
            dead,
        };
        // A refresh that comes between must not release what is claimed now.
        let was_owed = self.owed.cancel(uid, &entry.sid);
        match self.records.claim(&[claim]).await {
            Ok(mut results) => results.pop().unwrap_or(Err(Failure::NoAnswer)),
            Err(failure) => {
                if was_owed || failure == Failure::NoAnswer {
                    self.owed.add(uid, &entry.sid);
                }
                Err(failure)
            }
        }
    }

    /// Removes the entry of a connection, and no other. If Redis does not work, it is removed with the next
    /// refresh.
    pub async fn release(&self, uid: &Uid, sid: &str) -> Result<Released, Failure> {
        let mut results = self.release_all(&[(uid, sid)]).await?;
        results.pop().unwrap_or(Err(Failure::NoAnswer))
    }

    /// Like [`Directory::release`] for many connections, for example when a node stops. There is a result for
    /// each.
    pub async fn release_all(
        &self,
        connections: &[(&Uid, &str)],
    ) -> Result<Vec<Result<Released, Failure>>, Failure> {
        let mut results = Vec::with_capacity(connections.len());
        for (number, batch) in connections.chunks(BATCH).enumerate() {
            let released = self.records.release(batch).await.inspect_err(|_| {
                let left = &connections[number * BATCH..];
                left.iter().for_each(|(uid, sid)| self.owed.add(uid, sid));
            })?;
            results.extend(released);
        }
        Ok(results)
    }

    /// Returns for each user the nodes that have connections of the user, each node once. Nodes that have
    /// ended are among them until the entries expire: the caller knows which ones have.
    pub async fn find(&self, uids: &[Uid]) -> Result<Vec<Vec<Incarnation>>, Failure> {
        let mut results = Vec::with_capacity(uids.len());
        for batch in uids.chunks(BATCH) {
            for found in self.records.find(batch).await? {
                // The other users must not suffer from it. The record of messages reaches this one too.
                results.push(found.unwrap_or_else(|failure| {
                    if !self.was_foreign.swap(true, Relaxed) {
                        tracing::warn!("a user cannot be found: {failure}");
                    }
                    Vec::new()
                }));
            }
        }
        Ok(results)
    }
}
