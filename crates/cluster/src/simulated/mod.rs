//! A Redis in memory for simulations of several nodes: in virtual time, with faults that a seed determines.
//!
//! The directory and the bus of a node are the real ones; only what is behind them differs: records in
//! memory instead of those in Redis ([`commands`]), and a task that passes packets on ([`tasks`]). Both fail
//! as Redis does, and the bus in ways that Redis does not: it also repeats packets and changes their order.
//!
//! Invariant: what happens is determined by the seed and by the order of the calls. It needs tokio's clock to
//! be paused, and a runtime with one thread.

mod commands;
mod packets;
mod record;
mod server;
mod tasks;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use mynah_store::ids::Uid;
use mynah_store::time::UnixMillis;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::bus::counts::Counters;
use crate::bus::health::Health;
use crate::bus::{Bus, Inbox, inbox, publish};
use crate::directory::{Directory, Entry, Policy};
use crate::ids::{Incarnation, Order};
use crate::random::Random;
use commands::Commands;
use server::{Server, Shared};

pub use server::Faults;

/// After this time without a probe, the bus of a node is not healthy.
const SILENCE: Duration = Duration::from_secs(4);
/// The limits of the queues of each node.
const MOST_PACKETS: usize = 10_000;
const MOST_BYTES: usize = 10_000_000;

/// A Redis, for all nodes of a simulation.
pub struct Redis {
    shared: Arc<Shared>,
    /// Passes packets on.
    task: JoinHandle<()>,
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a node uses.
pub struct NodeParts {
    /// The directory.
    pub directory: Directory,
    /// The bus.
    pub bus: Bus,
    /// The packets that the bus receives.
    pub inbox: Inbox,
}

impl Redis {
    /// An empty Redis. The caller is inside of a tokio runtime.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let shared = Arc::new(Shared {
            server: Mutex::new(Server::new(Random(seed), faults)),
            was_sent: Notify::new(),
        });
        let task = tokio::spawn(tasks::pass_on(shared.clone()));
        Self { shared, task }
    }

    /// Connects one run of a node. It ends when its bus and its inbox are dropped.
    pub fn node(&self, incarnation: Incarnation, policy: Policy) -> NodeParts {
        let counts = Arc::new(Counters::default());
        let health = Arc::new(Health::new(SILENCE));
        let (delivery, inbox) = inbox::new(MOST_PACKETS, MOST_BYTES, counts.clone());
        let mut server = self.shared.server.lock();
        let (state, interruptions) = server.add(incarnation, health.clone(), delivery);
        drop(server);
        let commands = Commands {
            shared: self.shared.clone(),
            own: incarnation,
            policy,
        };
        let (queue, waiting) = publish::queue(MOST_PACKETS, MOST_BYTES);
        let publishing = tasks::publish(self.shared.clone(), incarnation, waiting, counts.clone());
        let tasks = vec![
            tokio::spawn(publishing),
            tokio::spawn(tasks::beats(self.shared.clone(), incarnation)),
        ];
        let states = [state.clone(), state.clone()];
        NodeParts {
            directory: Directory::new(Box::new(commands), state, interruptions),
            bus: Bus::new(queue, states, health, counts, tasks),
            inbox,
        }
    }

    /// Changes what goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.server.lock().faults = faults;
    }

    /// Sets the clock of Redis, by which claims are numbered.
    pub fn set_clock(&self, now: UnixMillis) {
        self.shared.server.lock().clock = (now, Instant::now());
    }

    /// Loses all data, as after FLUSHALL.
    pub fn forget(&self) {
        self.shared.server.lock().forget();
    }

    /// Ends. Nodes notice at once; packets that were not delivered are lost, and so is all data.
    pub fn stop(&self) {
        self.shared.server.lock().stop();
    }

    /// Starts again, empty. Nodes connect within half a second.
    pub fn start(&self) {
        self.shared.server.lock().start();
    }

    /// Cuts a node off, or lets it connect again.
    pub fn cut(&self, incarnation: Incarnation, is_cut: bool) {
        self.shared.server.lock().cut(incarnation, is_cut);
    }

    /// The entries of a user, oldest first, with the numbers of their claims.
    pub fn entries(&self, uid: &Uid) -> Vec<(Order, Entry)> {
        let server = self.shared.server.lock();
        let lines = server.record(uid).into_iter().flat_map(|record| &record.lines);
        lines.map(|line| (line.order, line.entry.clone())).collect()
    }
}
