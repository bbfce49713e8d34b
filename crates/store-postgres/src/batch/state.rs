//! The state that a batch has read, and its changes.
//!
//! Invariant: the heads are locked in the database, so that their state here equals the database plus the
//! changes of this batch.

use std::collections::{BTreeMap, HashMap};

use mynah_store::follow::{Numbers, RecordId};
use mynah_store::ids::{Cid, ConvId, Mid, Seq, TeamId, Uid};
use mynah_store::mids::Mids;
use mynah_store::{Appended, ConvKind, Device, Members, PushOrder, UnixMillis};
use uuid::Uuid;

use crate::age::Age;
use crate::rows::Moment;
use crate::rules::Rules;

/// The part of a row of `conversations` that messages change.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) kind: ConvKind,
    pub(crate) seq: u64,
    pub(crate) last_row: i64,
    pub(crate) ts: UnixMillis,
    pub(crate) counted: u64,
    /// How many of the messages in `counted` each of the two users of a pair has sent; in notices the owner,
    /// and 0.
    pub(crate) sent: [u64; 2],
    /// Unread messages of each of the two users of a pair; in notices of the owner, and 0.
    pub(crate) unread: [u64; 2],
    pub(crate) closed: bool,
    /// Of the team's members.
    pub(crate) version: i64,
    /// The greatest id of a message, of whichever node.
    pub(crate) last_mid: Option<Mid>,
    pub(crate) is_new: bool,
    pub(crate) is_dirty: bool,
}

impl Head {
    pub(crate) fn new(kind: ConvKind) -> Self {
        Self {
            kind,
            seq: 0,
            last_row: 0,
            ts: 0,
            counted: 0,
            sent: [0; 2],
            unread: [0; 2],
            closed: false,
            version: 0,
            last_mid: None,
            is_new: true,
            is_dirty: true,
        }
    }
}

/// A user's place in a conversation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seat {
    /// The conversation's; `None` if it does not exist.
    pub(crate) head: Option<u64>,
    /// The user is in it: its floor, and its read position.
    pub(crate) inside: Option<Inside>,
    /// The user has left it: the `seq` of its own kind 17, and the message after which it may still see
    /// messages.
    pub(crate) left: Option<(u64, u64)>,
    pub(crate) kind: Option<ConvKind>,
}

/// See [`Seat`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Inside {
    pub(crate) floor: u64,
    pub(crate) read: u64,
    /// A member's running value: its messages that count as unread.
    pub(crate) sent: u64,
}

/// A device that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) id: i64,
    pub(crate) seen: UnixMillis,
}

/// A message with the same hash of sender and cid.
#[derive(Debug)]
pub(crate) struct Earlier {
    pub(crate) seq: u64,
    pub(crate) row: i64,
    pub(crate) mid: Mid,
    pub(crate) ts: UnixMillis,
    pub(crate) sender: Option<Uid>,
    pub(crate) cid: Option<Cid>,
}

/// The running values of a conversation at a message, and the recalled messages after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtMessage {
    pub(crate) counted: u64,
    /// Of these, by the reader.
    pub(crate) own: u64,
    /// Recalled messages of others after it that counted as unread.
    pub(crate) recalled_after: u64,
}

/// A message that is to be written.
pub(crate) struct NewMessage<'a> {
    pub(crate) conv: ConvId,
    pub(crate) seq: u64,
    pub(crate) row: i64,
    /// The greatest row of an earlier message of the conversation; 0 if there is none.
    pub(crate) before: i64,
    pub(crate) mid: Mid,
    pub(crate) ts: UnixMillis,
    pub(crate) counted: u64,
    pub(crate) draft: Draft<'a>,
}

impl NewMessage<'_> {
    /// The numbers of the message and of the one before it.
    pub(crate) fn numbers(&self) -> Numbers {
        Numbers {
            own: RecordId(self.row),
            before: RecordId(self.before),
        }
    }
}

/// A message as it goes into the log, whoever wrote it.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) kind: u16,
    pub(crate) counts: bool,
    pub(crate) from: Option<&'a Uid>,
    pub(crate) cid: Option<&'a Cid>,
    pub(crate) cid_hash: Option<i64>,
    pub(crate) own: Option<u64>,
    pub(crate) member_sent: Option<u64>,
    pub(crate) data: &'a str,
}

/// A push job that is to be made; `uid` is `None` for a team's members.
pub(crate) struct NewJob<'a> {
    pub(crate) conv: ConvId,
    pub(crate) seq: Seq,
    pub(crate) uid: Option<&'a Uid>,
    pub(crate) push: PushOrder,
}

/// A new read position of a user.
pub(crate) struct NewRead {
    pub(crate) seq: u64,
    pub(crate) at: AtMessage,
}

/// See the module.
pub(crate) struct Batch<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) moment: Moment,
    pub(crate) mids: &'a mut Mids,
    pub(crate) age: &'a Age,
    pub(crate) heads: HashMap<ConvId, Head>,
    pub(crate) teams: HashMap<TeamId, ConvId>,
    pub(crate) members: HashMap<ConvId, Members>,
    pub(crate) seats: HashMap<(Uid, ConvId), Seat>,
    pub(crate) devices: HashMap<Device, Known>,
    /// By device and conversation.
    pub(crate) cursors: HashMap<(i64, ConvId), u64>,
    pub(crate) cids: HashMap<(ConvId, i64), Vec<Earlier>>,
    pub(crate) at_messages: HashMap<(Uid, ConvId, u64), AtMessage>,
    pub(crate) begun: HashMap<Uid, u32>,
    /// Of this transaction, by their cid.
    pub(crate) repeated: HashMap<(ConvId, Option<&'a Uid>, &'a Cid), Appended>,
    pub(crate) messages: Vec<NewMessage<'a>>,
    pub(crate) jobs: Vec<NewJob<'a>>,
    pub(crate) begins: Vec<&'a Uid>,
    pub(crate) sent: BTreeMap<(Uid, Uuid), u64>,
    pub(crate) reads: BTreeMap<(Uid, Uuid), NewRead>,
    pub(crate) advanced: BTreeMap<(i64, Uuid), u64>,
    pub(crate) seen: BTreeMap<i64, UnixMillis>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(rules: &'a Rules, mids: &'a mut Mids, age: &'a Age, moment: Moment) -> Self {
        Self {
            rules,
            moment,
            mids,
            age,
            heads: HashMap::new(),
            teams: HashMap::new(),
            members: HashMap::new(),
            seats: HashMap::new(),
            devices: HashMap::new(),
            cursors: HashMap::new(),
            cids: HashMap::new(),
            at_messages: HashMap::new(),
            begun: HashMap::new(),
            repeated: HashMap::new(),
            messages: Vec::new(),
            jobs: Vec::new(),
            begins: Vec::new(),
            sent: BTreeMap::new(),
            reads: BTreeMap::new(),
            advanced: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }
}
