//! A connection's queue at the server, and the network between server and client.
//!
//! As in `mynah-socketio`, nothing is queued after the end, and a queue beyond its limit ends the connection.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mynah_socketio::DisconnectReason;
use tokio::sync::{Notify, mpsc};

use crate::frame::Format;
use crate::ids::Uid;

/// Interval between two heartbeats, in milliseconds.
const HEARTBEAT: u64 = 25_000;

/// What the server sends.
#[derive(Debug, Clone)]
pub(super) enum Down {
    Frame(String, Format),
    /// The argument of a callback.
    Ack(u64, String),
    /// A DISCONNECT packet: the client is disconnected for good.
    Disconnect,
}

impl Down {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Frame(json, _) | Self::Ack(_, json) => json.len() + 16,
            Self::Disconnect => 2,
        }
    }
}

/// What a client sends: the argument of a `message` event, and the id of its callback.
#[derive(Debug, Clone)]
pub(super) struct Up {
    pub(super) json: String,
    pub(super) ack: Option<u64>,
}

pub(super) enum Arrival {
    Frame(Up),
    Closed(DisconnectReason),
}

/// The quality of a connection, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quality {
    pub(super) latency: (u64, u64),
    /// Time between two frames that the client's socket takes.
    pub(super) pace: (u64, u64),
}

/// A connection: the server's half and the network.
pub(super) struct Pipe {
    /// The index of the client, and the number of the node.
    pub(super) app: usize,
    pub(super) node: usize,
    pub(super) quality: Quality,
    pub(super) inbox: mpsc::Sender<Arrival>,
    /// Whether bytes still pass to the server, and to the client.
    pub(super) up: bool,
    pub(super) down: bool,
    pub(super) queue: VecDeque<Down>,
    pub(super) queued: usize,
    pub(super) bound: usize,
    /// The client was disconnected for good: nothing more is queued.
    pub(super) left: bool,
    /// The connection has ended for the server.
    pub(super) closed: bool,
    /// The server has ended the connection: frames that arrive are ignored.
    pub(super) deaf: bool,
    /// The handler was told of the end, or died with the server.
    pub(super) gone: bool,
    pub(super) writing: bool,
    pub(super) last_up: u64,
    pub(super) last_down: u64,
    /// When the server last received anything except heartbeats.
    pub(super) heard: u64,
    pub(super) room: Arc<Notify>,
    /// The users as which the client has asked to register.
    pub(super) uids: Vec<Uid>,
}

/// All connections of the run, also those that have ended.
#[derive(Default)]
pub(super) struct Pipes {
    pub(super) all: Vec<Pipe>,
    /// When the newest connection of each user ended, among those that have ended.
    pub(super) left: BTreeMap<Uid, u64>,
}

impl Pipes {
    pub(super) fn get(&mut self, id: usize) -> &mut Pipe {
        &mut self.all[id]
    }

    /// Returns the connections that the server has not forgotten.
    pub(super) fn open(&self) -> Vec<usize> {
        let open = self.all.iter().enumerate().filter(|(_, pipe)| !pipe.gone);
        open.map(|(id, _)| id).collect()
    }

    /// Returns those of a node.
    pub(super) fn open_at(&self, node: usize) -> Vec<usize> {
        let open = self.open().into_iter();
        open.filter(|id| self.all[*id].node == node).collect()
    }
}

impl Pipe {
    /// Returns whether both sides receive what the other one sends.
    pub(super) fn works(&self) -> bool {
        self.up && self.down && !self.closed && !self.gone
    }

    /// Returns when the server last received a frame, or a heartbeat if the connection works.
    pub(super) fn heard(&self, now: u64) -> u64 {
        if self.works() {
            self.heard.max(now - now % HEARTBEAT)
        } else {
            self.heard
        }
    }

    /// Queues a frame, unless the connection has ended.
    pub(super) fn enqueue(&mut self, down: Down) -> Queued {
        if self.closed || self.left {
            return Queued::No;
        }
        self.queued += down.len();
        self.queue.push_back(down);
        if self.queued > self.bound {
            self.shut();
            return Queued::TooMuch;
        }
        if std::mem::replace(&mut self.writing, true) {
            Queued::Yes
        } else {
            Queued::First
        }
    }

    /// Ends the connection for the server, and drops what is queued.
    pub(super) fn shut(&mut self) {
        self.closed = true;
        self.queue.clear();
        self.queued = 0;
        self.room.notify_waiters();
    }

    pub(super) fn tell(&self, reason: DisconnectReason) {
        let told = self.inbox.try_send(Arrival::Closed(reason));
        debug_assert!(told.is_ok() || self.gone, "the inbox is large enough");
    }
}

pub(super) enum Queued {
    No,
    TooMuch,
    First,
    Yes,
}
