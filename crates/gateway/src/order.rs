//! What is to be sent to whom, and what became of it: the same for sockets, HTTP and embedding programs.

use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::ids::{Cid, ConvId, Mid, Seq, TeamId, Uid};
use crate::registry::Connection;
use crate::session::Link;
use crate::store::Appended;
use crate::time::UnixMillis;

/// Something to send.
#[derive(Clone)]
pub struct SendOrder {
    /// The kind's number.
    pub kind: u16,
    /// To whom.
    pub to: To,
    /// The sender. Pair kinds get the system's uid when there is none.
    pub from: Option<Uid>,
    /// The payload: any JSON value.
    pub data: Arc<RawValue>,
    /// Deduplicates by (sender, conversation, `cid`).
    pub cid: Option<Cid>,
    /// Overrides the kind's own rule whether those who are away are notified.
    pub push: Option<bool>,
    /// After this many milliseconds a notification is of no use.
    pub ttl_ms: Option<u64>,
    /// Who gives the order.
    pub by: By,
}

impl fmt::Debug for SendOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendOrder")
            .field("kind", &self.kind)
            .field("to", &self.to)
            .field("from", &self.from)
            .field("data.bytes", &self.data.get().len())
            .field("cid", &self.cid)
            .finish_non_exhaustive()
    }
}

/// To whom something is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// One user.
    User(Uid),
    /// Each of these users, in a conversation of its own; one named twice gets it once.
    Users(Vec<Uid>),
    /// A team.
    Team(TeamId),
    /// Everyone who is connected; never stored.
    Everyone,
}

/// Who gives an order, and so what it may.
#[derive(Debug, Clone)]
pub enum By {
    /// The backend, by HTTP or in the same program.
    Api,
    /// A client, by frame 101.
    Client(Origin),
}

/// The connection that an order came from: it does not get the push.
#[derive(Clone)]
pub struct Origin(pub(crate) Arc<Connection<Link>>);

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.link.outlet().sid())
    }
}

/// Where a message stands in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub mid: Mid,
    /// Its conversation.
    pub conv: ConvId,
    /// Its number there.
    pub seq: Seq,
    /// The server's time.
    pub ts: UnixMillis,
    /// The same `cid` was there before: these are the first message's values, and nothing was delivered anew.
    pub duplicate: bool,
}

impl From<&Appended> for Stored {
    fn from(appended: &Appended) -> Self {
        Self {
            mid: appended.mid,
            conv: appended.conv,
            seq: appended.seq,
            ts: appended.ts,
            duplicate: appended.duplicate,
        }
    }
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// Sent to users.
    Users {
        /// One for each user, in the order in which they were first named.
        results: Vec<UserResult>,
        /// Users who got it on a live connection.
        online: usize,
        /// Users who did not.
        offline: usize,
    },
    /// Sent to a team.
    Team {
        /// Where it stands; `None` for kinds that are not stored.
        stored: Option<Stored>,
        /// Members who got it on a live connection.
        online: usize,
        /// Members who did not.
        offline: usize,
    },
    /// Sent to everyone.
    Everyone {
        /// Users who got it.
        online: usize,
    },
}

/// What became of it for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserResult {
    /// The user.
    pub uid: Uid,
    /// Handed to at least one live connection.
    pub delivered: bool,
    /// Where it stands; `None` for kinds that are not stored.
    pub stored: Option<Stored>,
}
