//! Orders to send messages, and their results. Sockets, HTTP and embedding programs use the same types.

use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::directory::ConnectionId;
use crate::ids::{Cid, ConvId, DeviceId, Mid, Seq, TeamId, Uid};
use crate::store::Appended;
use crate::time::UnixMillis;

/// An order to send a message.
#[derive(Clone)]
pub struct SendOrder {
    /// The kind's number.
    pub kind: u16,
    /// The recipients.
    pub to: To,
    /// The sender. Without one, messages of pair kinds are sent by the system's uid.
    pub from: Option<Uid>,
    /// The payload: any JSON value.
    pub data: Arc<RawValue>,
    /// Identifies a repeated message of the same sender in the same conversation.
    pub cid: Option<Cid>,
    /// Whether users who do not receive the message are notified; by default the kind decides.
    pub push: Option<bool>,
    /// The number of milliseconds after which a notification expires.
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

/// The recipients of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// One user.
    User(Uid),
    /// Each of these users, in a conversation of its own. A user who is named twice gets the message once.
    Users(Vec<Uid>),
    /// A team.
    Team(TeamId),
    /// All connected users; the message is never stored.
    Everyone,
}

/// Who gives an order. It decides what is allowed.
#[derive(Debug, Clone)]
pub enum By {
    /// The backend, by HTTP or in the same program.
    Api,
    /// A client, by frame 101.
    Client(Origin),
}

/// The connection from which an order came. It does not get the push.
#[derive(Debug, Clone)]
pub struct Origin {
    pub(crate) connection: ConnectionId,
    /// The sender's device, if the store knows it.
    pub(crate) device: Option<DeviceId>,
}

/// The place of a stored message in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The message's id.
    pub mid: Mid,
    /// The message's conversation.
    pub conv: ConvId,
    /// The message's number in the conversation.
    pub seq: Seq,
    /// The server's time.
    pub ts: UnixMillis,
    /// Whether the `cid` is a repetition. Then these are the values of the first message, and nothing was
    /// delivered again.
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

/// The result of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// Sent to users.
    Users {
        /// One result per user, in the order in which they were first named.
        results: Vec<UserResult>,
        /// The number of users who received it on a live connection.
        online: usize,
        /// The number of users who did not.
        offline: usize,
    },
    /// Sent to a team.
    Team {
        /// The place of the message; `None` for kinds that are not stored.
        stored: Option<Stored>,
        /// The number of members who received it on a live connection.
        online: usize,
        /// The number of members who did not.
        offline: usize,
    },
    /// Sent to everyone.
    Everyone {
        /// The number of users who received it.
        online: usize,
    },
}

/// The result of an order for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserResult {
    /// The user.
    pub uid: Uid,
    /// Whether it was queued for at least one live connection.
    pub delivered: bool,
    /// The place of the message; `None` for kinds that are not stored.
    pub stored: Option<Stored>,
}
