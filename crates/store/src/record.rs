//! What a store returns: messages, conversations, and positions of devices.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::ids::{Cid, ConvId, Mid, PairClass, Seq, TeamId, Uid};
use crate::time::UnixMillis;

/// The sort of a conversation, and to whom it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConvKind {
    /// A conversation of two users.
    Pair(PairClass, Uid, Uid),
    /// The notices of a user.
    Notices(Uid),
    /// The conversation of a team, which may be deleted.
    Team(TeamId),
}

/// A stored message.
#[derive(Debug, Clone)]
pub struct Message {
    /// The kind's number.
    pub kind: u16,
    /// The payload, any JSON value; `null` when recalled.
    pub data: Arc<RawValue>,
    /// The message's id.
    pub mid: Mid,
    /// The conversation of the message.
    pub conv: ConvId,
    /// The number of the message in its conversation.
    pub seq: Seq,
    /// The sender.
    pub from: Option<Uid>,
    /// The sender's own id of the message.
    pub cid: Option<Cid>,
    /// The server's time of day at the commit.
    pub ts: UnixMillis,
    /// Whether the sender has recalled the message.
    pub recalled: bool,
}

/// The part of a conversation to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// After this number, ascending.
    After(Seq),
    /// Before this number, descending (newest first).
    Before(Seq),
}

/// The size of a page. A page ends when either limit is reached, but contains at least one entry if there is
/// any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The maximum number of entries, from 1 to 500.
    pub most: u32,
    /// Bytes of payload after which the page ends.
    pub bytes: usize,
}

impl Page {
    /// Returns whether a page with so much content is full.
    pub fn is_full(self, entries: usize, bytes: usize) -> bool {
        entries >= self.most as usize || entries > 0 && bytes >= self.bytes
    }
}

/// A part of a conversation.
#[derive(Debug, Clone)]
pub struct History {
    /// The messages in the requested order.
    pub messages: Vec<Message>,
    /// The number of the newest message.
    pub head: Seq,
    /// Whether there are more messages in this direction.
    pub more: bool,
}

/// An entry of a user's list of conversations.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The conversation.
    pub conv: ConvId,
    /// The sort of the conversation, and to whom it belongs.
    pub kind: ConvKind,
    /// The number of the newest message.
    pub head: Seq,
    /// The cursor of the device; 0 if no device is given.
    pub cursor: Seq,
    /// The read position of the user.
    pub read: Seq,
    /// Messages after the read position that count: of certain kinds, from others, and not recalled.
    pub unread: u64,
    /// The newest message, if the user may see it.
    pub last: Option<Message>,
}

/// A page of a user's conversations, newest first.
#[derive(Debug, Clone)]
pub struct Conversations {
    /// Newest first.
    pub conversations: Vec<Conversation>,
    /// The value of `after` for the next page; `None` at the end.
    pub next: Option<String>,
}

/// What a device that registers with `resume` has missed at one moment.
#[derive(Debug, Clone, Default)]
pub struct Missed {
    /// The sum of `unread` over the user's conversations.
    pub unread: u64,
    /// Conversations with unread messages, or with messages that the device has not acknowledged; newest
    /// first.
    pub conversations: Vec<Position>,
    /// Whether there are more such conversations than were requested.
    pub more: bool,
    /// What the device has not acknowledged, newest conversation first; at most as many stretches as were
    /// requested.
    pub behind: Vec<Stretch>,
    /// What the device has not acknowledged of teams that the user has left, up to the kind 17 about the
    /// user. All such stretches.
    pub left: Vec<Stretch>,
    /// Number of messages that the device has not acknowledged in all conversations of its user, including
    /// those that `behind` leaves out.
    pub pending: u64,
}

/// The positions of a device and its user in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The conversation.
    pub conv: ConvId,
    /// The number of the newest message.
    pub head: Seq,
    /// The cursor of the device.
    pub cursor: Seq,
    /// The read position of the user.
    pub read: Seq,
    /// Messages after the read position that count: of certain kinds, from others, and not recalled.
    pub unread: u64,
}

/// Consecutive messages of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The conversation.
    pub conv: ConvId,
    /// The stretch begins after this message.
    pub after: Seq,
    /// The stretch ends with this message.
    pub through: Seq,
}
