//! The bus: packets between nodes, through Redis.
//!
//! Packets are delivered at most once: they are dropped, and counted, when a queue is full or Redis does not
//! work, because whatever must arrive is also found in the record. Packets of one node that arrive, arrive in
//! the order in which it has sent them.
//!
//! Invariants: sending and receiving never wait. Each queue is bounded in packets and in bytes. Whatever
//! waits is published in one write. A bus that delivers nothing is noticed ([`health`]) and connected anew.

pub(crate) mod counts;
pub(crate) mod health;
pub(crate) mod inbox;
pub(crate) mod publish;
mod redis;
mod seal;
mod target;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::address::Address;
use crate::ids::{ClusterName, Incarnation};
use crate::link::{State, Times};
use crate::secret::Secret;
use counts::Counters;
use health::Health;
use publish::Queue;
use seal::Use;

pub use counts::Counts;
pub use inbox::{Inbox, Received};
pub use target::{NotSent, To};

/// What a bus needs.
pub struct BusConfig {
    /// Where Redis is.
    pub address: Arc<Address>,
    /// The name of the cluster.
    pub name: ClusterName,
    /// The secret of the cluster.
    pub secret: Secret,
    /// This node's run. Only one bus may be started for it, because receivers refuse counters that begin
    /// again.
    pub incarnation: Incarnation,
    /// The maximum number of packets in each of the two queues: to publish, and received.
    pub most_packets: usize,
    /// The maximum number of bytes in each of the two queues.
    pub most_bytes: usize,
    /// Limits of time.
    pub times: Times,
}

/// The part of the bus that sends. When it is dropped, the node neither sends nor receives.
pub struct Bus {
    queue: Queue,
    /// Of the connections that publish and that receive.
    states: [watch::Receiver<State>; 2],
    health: Arc<Health>,
    counts: Arc<Counters>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Bus {
    pub(crate) fn new(
        queue: Queue,
        states: [watch::Receiver<State>; 2],
        health: Arc<Health>,
        counts: Arc<Counters>,
        tasks: Vec<JoinHandle<()>>,
    ) -> Self {
        Self {
            queue,
            states,
            health,
            counts,
            tasks,
        }
    }

    /// Sends a packet. It is queued or dropped at once; the error says why it was dropped.
    pub fn send(&self, to: To, body: Bytes) -> Result<(), NotSent> {
        let sent = match *self.states[0].borrow() {
            State::Connected(_) => self.queue.push(to, Use::Packet, body),
            State::Disconnected(_) => Err(NotSent::Disconnected),
        };
        self.counts.queued(sent);
        sent
    }

    /// Since when this node has heard its own probes without an interruption; `None` while it does not.
    pub fn healthy_since(&self) -> Option<Instant> {
        self.health.healthy_since()
    }

    /// How long this node has not heard its own probes, which it sends every second.
    pub fn silent_for(&self) -> Duration {
        self.health.silent_for()
    }

    /// The states of the connections that publish and that receive; changes can be awaited.
    pub fn states(&self) -> [watch::Receiver<State>; 2] {
        self.states.clone()
    }

    /// What has become of the packets.
    pub fn counts(&self) -> Counts {
        self.counts.read()
    }
}
