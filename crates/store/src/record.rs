//! What a store has: messages, conversations, and where devices stand in them.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::ids::{Cid, ConvId, Mid, PairClass, Seq, TeamId, Uid};
use crate::time::UnixMillis;

/// What sort of conversation it is, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConvKind {
    /// Between two users.
    Pair(PairClass, Uid, Uid),
    /// A user's notices.
    Notices(Uid),
    /// A team's, or a deleted team's.
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
    /// Its conversation.
    pub conv: ConvId,
    /// Its number there.
    pub seq: Seq,
    /// The sender.
    pub from: Option<Uid>,
    /// The sender's id for it.
    pub cid: Option<Cid>,
    /// The server's time.
    pub ts: UnixMillis,
    /// Its sender took it back.
    pub recalled: bool,
}

/// Which part of a conversation to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// After this number, ascending.
    After(Seq),
    /// Before this number, descending (newest first).
    Before(Seq),
}

/// How much to read at once: a page ends with whichever is reached first, and holds at least one entry if there is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Entries, 1 to 500.
    pub most: u32,
    /// Bytes of payload.
    pub bytes: usize,
}

impl Page {
    /// Whether nothing more goes into it.
    pub fn is_full(self, entries: usize, bytes: usize) -> bool {
        entries >= self.most as usize || entries > 0 && bytes >= self.bytes
    }
}

/// A part of a conversation.
#[derive(Debug, Clone)]
pub struct History {
    /// In the order asked for.
    pub messages: Vec<Message>,
    /// The newest message's number.
    pub head: Seq,
    /// There is more in this direction.
    pub more: bool,
}

/// A line of a user's list of conversations.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The conversation.
    pub conv: ConvId,
    /// What sort, and whose.
    pub kind: ConvKind,
    /// The newest message's number.
    pub head: Seq,
    /// The asking device has everything up to here; 0 when no device asks.
    pub cursor: Seq,
    /// Read by the user up to here.
    pub read: Seq,
    /// Messages of kinds that count, after `read`, not from the user itself, not recalled.
    pub unread: u64,
    /// The newest message, if the user may see it.
    pub last: Option<Message>,
}

/// A page of a user's conversations, newest first.
#[derive(Debug, Clone)]
pub struct Conversations {
    /// Newest first.
    pub conversations: Vec<Conversation>,
    /// Give it as `after` to get the next page; `None` at the end.
    pub next: Option<String>,
}

/// What a device that comes back has missed, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Missed {
    /// The sum of `unread` over the user's conversations.
    pub unread: u64,
    /// Conversations with something unread, or with something that the device has not acknowledged; newest first.
    pub conversations: Vec<Position>,
    /// There are more of these than were asked for.
    pub more: bool,
    /// What the device has not acknowledged, newest conversation first; at most as many as were asked for.
    pub behind: Vec<Stretch>,
    /// The same of teams that the user has left, up to the user's own kind 17; all of them.
    pub left: Vec<Stretch>,
    /// How many messages the device has not acknowledged, in all conversations that the user is in; when there are more conversations than were asked
    /// for, it is more than `behind` has.
    pub pending: u64,
}

/// Where a device and its user stand in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The conversation.
    pub conv: ConvId,
    /// The newest message's number.
    pub head: Seq,
    /// The device has everything up to here.
    pub cursor: Seq,
    /// The user has read up to here.
    pub read: Seq,
    /// Messages of kinds that count, after `read`, not from the user itself, not recalled.
    pub unread: u64,
}

/// Messages of a conversation that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The conversation.
    pub conv: ConvId,
    /// After this one.
    pub after: Seq,
    /// Up to and with this one.
    pub through: Seq,
}
