//! What the simulated Redis knows, and what happens to it at one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mynah_store::ids::Uid;
use mynah_store::time::UnixMillis;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::packets::Packets;
use super::record::{Line, Record};
use crate::bus::Received;
use crate::bus::health::Health;
use crate::bus::inbox::Delivery;
use crate::directory::records::Claim;
use crate::directory::{Claimed, ENTRY_LIFE, Held, Policy, Released};
use crate::failure::Trouble;
use crate::ids::{Incarnation, Order};
use crate::link::State;
use crate::random::Random;

/// The time of the clock at first.
const BEGIN: UnixMillis = 1_795_386_818_498;

/// What goes wrong while Redis is there. The default is nothing, and no delay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Of 100 packets to a node, how many are lost.
    pub lost: u64,
    /// Of 100 packets to a node, how many arrive twice.
    pub repeated: u64,
    /// Of 100 packets to a node, how many may overtake others of the same sender.
    pub overtaking: u64,
    /// Of 100 commands of the directory, how many are not answered. A half of these are executed.
    pub unanswered: u64,
    /// How long a packet, a command and an answer take: the minimum and the maximum, in milliseconds.
    pub delay_ms: (u64, u64),
}

/// What the nodes and the tasks share.
pub(super) struct Shared {
    pub(super) server: Mutex<Server>,
    /// A packet was sent.
    pub(super) was_sent: Notify,
}

pub(super) struct Server {
    pub(super) random: Random,
    pub(super) faults: Faults,
    /// The time of its clock at a moment.
    pub(super) clock: (UnixMillis, Instant),
    is_stopped: bool,
    /// How many times all data was lost.
    losses: u64,
    records: HashMap<Uid, Record>,
    pub(super) nodes: BTreeMap<Incarnation, Node>,
    packets: Packets,
}

/// What Redis has of one node.
pub(super) struct Node {
    is_cut: bool,
    state: watch::Sender<State>,
    interruptions: watch::Sender<u64>,
    /// `losses` when the node last looked.
    losses: u64,
    health: Arc<Health>,
    delivery: Delivery,
    /// When its last command was, or will be, executed. Later commands come after it.
    pub(super) last_command: Instant,
}

impl Node {
    pub(super) fn disconnected(&self, why: Trouble) {
        self.state.send_replace(State::Disconnected(why));
        self.health.interrupted();
    }
}

/// The nodes and the connections.
impl Server {
    pub(super) fn new(random: Random, faults: Faults) -> Self {
        Self {
            random,
            faults,
            clock: (BEGIN, Instant::now()),
            is_stopped: false,
            losses: 0,
            records: HashMap::new(),
            nodes: BTreeMap::new(),
            packets: Packets::default(),
        }
    }

    /// Adds a node. Returns its state, and its interruptions.
    pub(super) fn add(
        &mut self,
        incarnation: Incarnation,
        health: Arc<Health>,
        delivery: Delivery,
    ) -> (watch::Receiver<State>, watch::Receiver<u64>) {
        let state = match self.is_stopped {
            true => State::Disconnected(Trouble::Closed),
            false => State::Connected(1),
        };
        let node = Node {
            is_cut: false,
            state: watch::Sender::new(state),
            interruptions: watch::Sender::new(0),
            losses: self.losses,
            health,
            delivery,
            last_command: Instant::now(),
        };
        let watched = (node.state.subscribe(), node.interruptions.subscribe());
        self.nodes.insert(incarnation, node);
        watched
    }

    /// Whether the node is connected.
    pub(super) fn is_connected(&self, incarnation: Incarnation) -> bool {
        let node = self.nodes.get(&incarnation);
        node.is_some_and(|node| matches!(*node.state.borrow(), State::Connected(_)))
    }

    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        self.forget();
        self.packets = Packets::default();
        for node in self.nodes.values() {
            node.disconnected(Trouble::Closed);
        }
    }

    pub(super) fn start(&mut self) {
        self.is_stopped = false;
    }

    pub(super) fn cut(&mut self, incarnation: Incarnation, is_cut: bool) {
        if let Some(node) = self.nodes.get_mut(&incarnation) {
            node.is_cut = is_cut;
            if is_cut {
                node.disconnected(Trouble::NoAnswer);
            }
        }
    }

    pub(super) fn forget(&mut self) {
        self.records.clear();
        self.losses += 1;
    }

    /// What a node does regularly: it connects, notices that data was lost, and hears its own probe.
    /// `connection` is the number of a new connection.
    pub(super) fn beat(&mut self, incarnation: Incarnation, connection: u64) {
        let Some(node) = self.nodes.get_mut(&incarnation) else {
            return;
        };
        if self.is_stopped || node.is_cut {
            return;
        }
        let is_new = matches!(*node.state.borrow(), State::Disconnected(_));
        if is_new {
            node.state.send_replace(State::Connected(connection));
        }
        if is_new || node.losses < self.losses {
            node.losses = self.losses;
            node.interruptions.send_modify(|number| *number += 1);
        }
        node.health.heard();
    }

    pub(super) fn delay(&mut self) -> Duration {
        Duration::from_millis(self.random.range(self.faults.delay_ms))
    }
}

/// Packets.
impl Server {
    /// The nodes that have not ended, without `own`.
    pub(super) fn others(&mut self, own: Incarnation) -> Vec<Incarnation> {
        self.nodes.retain(|_, node| !node.delivery.is_closed());
        self.nodes.keys().copied().filter(|node| *node != own).collect()
    }

    /// Sends a packet to one node, with the faults of the bus. Returns false if the node is not connected.
    pub(super) fn publish(&mut self, to: Incarnation, packet: &Received) -> bool {
        if !self.is_connected(to) {
            return false;
        }
        let faults = self.faults;
        let copies = match () {
            () if self.random.percent(faults.lost) => 0,
            () if self.random.percent(faults.repeated) => 2,
            () => 1,
        };
        for _ in 0..copies {
            let at = Instant::now() + self.delay();
            let overtakes = self.random.percent(faults.overtaking);
            self.packets.send(at, to, packet.clone(), overtakes);
        }
        true
    }

    /// Delivers what has arrived. Returns when the next packet arrives.
    pub(super) fn deliver(&mut self) -> Option<Instant> {
        while let Some((to, packet)) = self.packets.take() {
            if self.is_connected(to)
                && let Some(node) = self.nodes.get(&to)
            {
                node.delivery.put(packet);
            }
        }
        self.packets.next_at()
    }
}

/// Records.
impl Server {
    /// Changes a user's record, in which only entries are left that have not expired.
    fn change<T>(&mut self, uid: &Uid, change: impl FnOnce(&mut Record) -> T) -> T {
        let record = self.records.entry(uid.clone()).or_default();
        let now = Instant::now();
        record.lines.retain(|line| line.expires > now);
        let result = change(record);
        if record.lines.is_empty() {
            self.records.remove(uid);
        }
        result
    }

    /// The record of a user.
    pub(super) fn record(&self, uid: &Uid) -> Option<&Record> {
        self.records.get(uid)
    }

    pub(super) fn claim(&mut self, claim: &Claim<'_>, policy: Policy) -> Claimed {
        let last = self.records.get(claim.uid).map_or(0, |record| record.last);
        let (then, began) = self.clock;
        let micros = then * 1_000 + began.elapsed().as_micros() as u64;
        let order = claim.restores.unwrap_or(Order(micros.max(last + 1)));
        self.change(claim.uid, |record| {
            record.lines.retain(|line| !claim.dead.contains(&line.entry.node));
            let own = Line {
                order,
                expires: Instant::now() + ENTRY_LIFE,
                entry: claim.entry.clone(),
            };
            let order = record.enter(own, claim.restores.is_some());
            let sid = &*claim.entry.sid;
            let ousted = record.apply(policy, claim.restores.is_none().then_some(sid));
            let is_there = record.place(sid).is_some();
            Claimed {
                order,
                others: record.lines.len() - usize::from(is_there),
                ousted,
            }
        })
    }

    pub(super) fn touch(&mut self, held: &Held) -> bool {
        self.change(&held.uid, |record| {
            let at = record.place(&held.entry.sid);
            let at = at.filter(|at| record.lines[*at].order >= held.order);
            if let Some(at) = at {
                record.lines[at].expires = Instant::now() + ENTRY_LIFE;
            }
            at.is_some()
        })
    }

    pub(super) fn release(&mut self, uid: &Uid, sid: &str) -> Released {
        self.change(uid, |record| {
            let before = record.lines.len();
            record.lines.retain(|line| *line.entry.sid != *sid);
            let left = record.lines.len();
            Released {
                was_there: left < before,
                left,
            }
        })
    }

    pub(super) fn find(&mut self, uid: &Uid) -> Vec<Incarnation> {
        self.change(uid, |record| {
            let mut nodes = Vec::new();
            for line in &record.lines {
                if !nodes.contains(&line.entry.node) {
                    nodes.push(line.entry.node);
                }
            }
            nodes
        })
    }
}
