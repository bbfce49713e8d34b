//! A connection's queue at the server, and what the network does with it.
//!
//! As in `mynah-socketio`: nothing is queued after the end, and a queue beyond its bound ends the connection.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mynah_socketio::DisconnectReason;
use tokio::sync::{Notify, mpsc};

use crate::frame::Format;
use crate::ids::Uid;

/// Between two heartbeats.
const HEARTBEAT: u64 = 25_000;

/// To the client.
#[derive(Debug, Clone)]
pub(super) enum Down {
    Frame(String, Format),
    /// The argument of a callback.
    Ack(u64, String),
    /// A DISCONNECT packet: do not come back by yourself.
    Away,
}

impl Down {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Frame(json, _) | Self::Ack(_, json) => json.len() + 16,
            Self::Away => 2,
        }
    }
}

/// To the server: the argument of a `message` event, and its callback.
#[derive(Debug, Clone)]
pub(super) struct Up {
    pub(super) json: String,
    pub(super) ack: Option<u64>,
}

pub(super) enum Arrival {
    Frame(Up),
    Closed(DisconnectReason),
}

/// How a connection behaves, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quality {
    pub(super) latency: (u64, u64),
    /// Between two frames that the client's socket takes.
    pub(super) pace: (u64, u64),
}

/// A connection, server's half and network.
pub(super) struct Pipe {
    /// Whose it is.
    pub(super) app: usize,
    pub(super) quality: Quality,
    pub(super) inbox: mpsc::Sender<Arrival>,
    /// Bytes still pass to the server; to the client.
    pub(super) up: bool,
    pub(super) down: bool,
    pub(super) queue: VecDeque<Down>,
    pub(super) queued: usize,
    pub(super) bound: usize,
    /// Sent away: nothing is queued any more.
    pub(super) left: bool,
    /// Over, as the server sees it.
    pub(super) closed: bool,
    /// Closed by the server: what has come is not handled any more.
    pub(super) deaf: bool,
    /// Its handler has heard of the close, or died with the server.
    pub(super) gone: bool,
    pub(super) writing: bool,
    pub(super) last_up: u64,
    pub(super) last_down: u64,
    /// When the server last heard of the client, heartbeats aside.
    pub(super) heard: u64,
    pub(super) room: Arc<Notify>,
    /// Whom the client has asked to be registered as.
    pub(super) uids: Vec<Uid>,
}

/// All connections there ever were.
#[derive(Default)]
pub(super) struct Pipes {
    pub(super) all: Vec<Pipe>,
    /// When a user's newest connection that has ended did so.
    pub(super) left: BTreeMap<Uid, u64>,
}

impl Pipes {
    pub(super) fn get(&mut self, id: usize) -> &mut Pipe {
        &mut self.all[id]
    }

    /// Those that the server knows of.
    pub(super) fn open(&self) -> Vec<usize> {
        let open = self.all.iter().enumerate().filter(|(_, pipe)| !pipe.gone);
        open.map(|(id, _)| id).collect()
    }
}

impl Pipe {
    /// Whether both sides hear each other.
    pub(super) fn works(&self) -> bool {
        self.up && self.down && !self.closed && !self.gone
    }

    /// When the server last heard of the client: by a frame, or by a heartbeat as long as the line works.
    pub(super) fn heard(&self, now: u64) -> u64 {
        if self.works() {
            self.heard.max(now - now % HEARTBEAT)
        } else {
            self.heard
        }
    }

    /// Queues; false when it cannot, or may not any more.
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

    /// The end at the server's side: what is queued is dropped.
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
