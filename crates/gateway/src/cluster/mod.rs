//! The other nodes: what this node knows of them, and says to them.
//!
//! A gateway that is alone has no [`Cluster`]. Nothing here knows connections: what packets of other nodes
//! mean is decided where they are received. Invariant: whatever fails here fails at once or within
//! [`mynah_cluster::Times`]; Redis is not the truth, and what it loses is found in the record.

mod agreement;
mod open;
mod peers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mynah_cluster::{
    Answer, Answers, Ask, Bus, Claimed, Directory, Entry, Failure, Incarnation, Packet, Questions, State, To,
    Trouble,
};
use tokio::sync::watch;

use crate::clock;
use crate::ids::Uid;

pub(crate) use agreement::{Disagreement, Introduction};
pub(crate) use open::{Own, Settings};
pub(crate) use peers::{Life, Peer, Peers};

/// How long the nodes have to answer a question.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A node that has not heard itself on the bus for this time is not ready.
const DEAF: Duration = Duration::from_secs(10);
/// A node that was stopped for longer than this, in milliseconds, was taken for dead by the others.
const LOST_MS: u64 = 10_000;
/// Time between two checks whether this process was stopped.
const TICK: Duration = Duration::from_millis(500);

/// This node among the others.
pub(crate) struct Cluster {
    own: Peer,
    /// For how long the users of a node that has ended count as connected.
    back: Duration,
    peers: watch::Sender<Arc<Peers>>,
    directory: Directory,
    bus: Bus,
    questions: Questions,
    /// Whether the node has ever heard itself on the bus.
    was_healthy: AtomicBool,
    /// When this process last noted that it runs, on the steady clock.
    ticked: AtomicU64,
    /// Whether it was stopped for too long.
    was_stopped: AtomicBool,
}

/// Where a user is connected, apart from this node.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    /// The nodes that live and have a connection of the user.
    pub(crate) nodes: Vec<Incarnation>,
    /// Whether the user was connected to a node that has just ended.
    pub(crate) returns: bool,
}

impl Elsewhere {
    /// Whether the user counts as connected.
    pub(crate) fn is_online(&self) -> bool {
        self.returns || !self.nodes.is_empty()
    }
}

impl Cluster {
    /// This node. `back` is the time for which the users of a node that has ended count as connected.
    pub(crate) fn new(own: Peer, back: Duration, directory: Directory, bus: Bus) -> Self {
        Self {
            own,
            back,
            peers: watch::Sender::default(),
            directory,
            bus,
            questions: Questions::default(),
            was_healthy: AtomicBool::new(false),
            ticked: AtomicU64::new(clock::steady_millis()),
            was_stopped: AtomicBool::new(false),
        }
    }

    /// Waits until this process continues after it was stopped for so long that the others took it for dead.
    pub(crate) async fn stopped(&self) {
        while !self.was_stopped() {
            self.ticked.store(clock::steady_millis(), Relaxed);
            tokio::time::sleep(TICK).await;
        }
        self.was_stopped.store(true, Relaxed);
    }

    /// Whether this process was stopped for so long that the others took it for dead. It must then not handle
    /// what clients have sent, and goes on as a new node.
    pub(crate) fn was_stopped(&self) -> bool {
        self.was_stopped.load(Relaxed)
            || clock::steady_millis().saturating_sub(self.ticked.load(Relaxed)) > LOST_MS
    }

    /// Returns an error if this node does not hear the others.
    pub(crate) fn ready(&self) -> Result<(), Trouble> {
        if self.bus.healthy_since().is_some() {
            self.was_healthy.store(true, Relaxed);
            return Ok(());
        }
        if self.was_healthy.load(Relaxed) && self.bus.silent_for() < DEAF {
            return Ok(());
        }
        let states = [
            self.directory.state(),
            self.bus.states()[0].clone(),
            self.bus.states()[1].clone(),
        ];
        let trouble = states.iter().find_map(|state| match &*state.borrow() {
            State::Disconnected(trouble) => Some(trouble.clone()),
            State::Connected(_) => None,
        });
        Err(trouble.unwrap_or(Trouble::Silent))
    }

    /// Waits until Redis is connected, but not longer than `limit`. Returns why it is not.
    pub(crate) async fn connected(&self, limit: Duration) -> Result<(), Trouble> {
        let mut state = self.directory.state();
        let connected = state.wait_for(|state| {
            matches!(
                state,
                State::Connected(_) | State::Disconnected(Trouble::OtherCluster(_))
            )
        });
        // Whether the time is over shows in the state.
        let _ = tokio::time::timeout(limit, connected).await;
        match &*self.directory.state().borrow() {
            State::Connected(_) => Ok(()),
            State::Disconnected(trouble) => Err(trouble.clone()),
        }
    }

    /// This run of this node.
    pub(crate) fn own(&self) -> Incarnation {
        self.own.incarnation
    }

    /// The other nodes at present.
    pub(crate) fn peers(&self) -> Arc<Peers> {
        self.peers.borrow().clone()
    }

    /// The other nodes, for whoever has to learn of every change.
    pub(crate) fn watch_peers(&self) -> watch::Receiver<Arc<Peers>> {
        self.peers.subscribe()
    }

    /// Takes what is known about the other nodes from now on.
    pub(crate) fn know(&self, peers: Peers) {
        self.peers.send_replace(Arc::new(peers));
    }

    /// The directory.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The bus.
    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Sends a packet. It may be lost.
    pub(crate) fn send(&self, to: To, packet: &Packet) {
        // The bus counts what it drops, and the record has what matters.
        let _ = self.bus.send(to, packet.encode());
    }

    /// Asks these nodes, and waits until all have answered, for two seconds at most.
    pub(crate) async fn ask(&self, nodes: Vec<Incarnation>, ask: Ask) -> Answers {
        let asked = self.questions.ask(nodes.iter().copied());
        let number = asked.number();
        if !nodes.is_empty() {
            self.send(To::Nodes(nodes.into()), &Packet::Question { number, ask });
        }
        asked.answers(ANSWER_WITHIN).await
    }

    /// Asks each of these nodes something else. Returns their answers in the same order, after two seconds at
    /// most; `None` for nodes that have not answered.
    pub(crate) async fn ask_each(&self, asks: Vec<(Incarnation, Ask)>) -> Vec<Option<Answer>> {
        let end = clock::now() + ANSWER_WITHIN;
        let ask = |(node, ask)| {
            let asked = self.questions.ask([node]);
            let number = asked.number();
            self.send(To::Node(node), &Packet::Question { number, ask });
            asked
        };
        let asked: Vec<_> = asks.into_iter().map(ask).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for asked in asked {
            let left = end.saturating_duration_since(clock::now());
            answers.push(asked.answers(left).await.given.pop());
        }
        answers
    }

    /// Asks all other nodes that live.
    pub(crate) async fn ask_all(&self, ask: Ask) -> Answers {
        let nodes = self.peers().live.keys().copied().collect();
        self.ask(nodes, ask).await
    }

    /// The questions of this node, for those who receive answers.
    pub(crate) fn questions(&self) -> &Questions {
        &self.questions
    }

    /// Returns where each of these users is connected, apart from this node.
    pub(crate) async fn find(&self, uids: &[Uid]) -> Result<Vec<Elsewhere>, Failure> {
        let found = self.directory.find(uids).await?;
        let (peers, now) = (self.peers(), clock::now());
        let sort = |nodes: Vec<Incarnation>| {
            let mut elsewhere = Elsewhere::default();
            for node in nodes.into_iter().filter(|node| *node != self.own.incarnation) {
                match peers.life(&node, self.back, now) {
                    Life::Live => elsewhere.nodes.push(node),
                    Life::Returning => elsewhere.returns = true,
                    Life::Ended => {}
                }
            }
            elsewhere
        };
        Ok(found.into_iter().map(sort).collect())
    }

    /// Enters a connection of this node and applies the login policy; see [`Directory::claim`].
    pub(crate) async fn claim(&self, uid: &Uid, entry: &Entry) -> Result<Claimed, Failure> {
        let ended: Vec<_> = self.peers().ended.keys().copied().collect();
        self.directory.claim(uid, entry, &ended).await
    }
}
