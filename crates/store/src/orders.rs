//! What a store is told to write, and what it says became of it.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{ConvKind, JobId};
use crate::ids::{Cid, ConvId, DeviceId, Mid, PairClass, Seq, TeamId, Uid};
use crate::time::UnixMillis;

/// Where a message goes, before its conversation is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Between two users; they may be the same.
    Pair {
        /// Which of their conversations.
        class: PairClass,
        /// The one it is sent to.
        to: Uid,
    },
    /// A user's notices.
    Notices(Uid),
    /// A team.
    Team(TeamId),
}

/// A push notification to make of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushOrder {
    /// No attempt begins later than this.
    pub expires: UnixMillis,
    /// The first attempt begins this long after the commit, in milliseconds.
    pub delay_ms: u64,
    /// The job is urgent: it is put into [`Lane::Urgent`](super::Lane::Urgent).
    pub urgent: bool,
}

/// A message to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// Where to. A pair needs `from`.
    pub place: Place,
    /// The kind's number.
    pub kind: u16,
    /// Whether it counts as unread.
    pub counts: bool,
    /// The sender.
    pub from: Option<Uid>,
    /// The sender's device, where the store knows it: its cursor goes up with this message if it had everything before.
    pub device: Option<DeviceId>,
    /// Refuse with [`StoreError::Forbidden`] unless `from` is a member of the team.
    pub members_only: bool,
    /// Deduplicates by (sender, conversation, `cid`) within the store's window.
    pub cid: Option<Cid>,
    /// Append nothing: only answer if it was appended before, and otherwise with [`StoreError::NotFound`](super::StoreError::NotFound).
    pub only_repeat: bool,
    /// Pairs that the sender may begin within an hour; 0 is any number. Beyond it [`StoreError::TooFast`](super::StoreError::TooFast).
    pub new_pairs_per_hour: u32,
    /// The payload, as it came.
    pub data: Arc<RawValue>,
    /// A push job to make in the same transaction; its recipients are the pair's other user, the notices' uid, or the
    /// team's members without the sender.
    pub push: Option<PushOrder>,
}

/// A team's members at one moment: sorted, without duplicates, shared by all messages committed meanwhile.
pub type Members = Arc<Vec<Uid>>;

/// What became of an [`Append`].
#[derive(Debug, Clone)]
pub struct Appended {
    /// The conversation.
    pub conv: ConvId,
    /// The message's number in it.
    pub seq: Seq,
    /// The message's id.
    pub mid: Mid,
    /// The server's time. Inside a conversation it decreases only if the clock was set back by more than 10 s.
    pub ts: UnixMillis,
    /// The same `cid` was there before: these are the first message's values, and nothing was written.
    pub duplicate: bool,
    /// A team's members at the commit; `None` for pairs, notices and duplicates.
    pub members: Option<Members>,
    /// The push job that was made: who has reached its only recipient already may finish it without reading it.
    pub push: Option<JobId>,
}

/// One of a user's devices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    /// The user.
    pub uid: Uid,
    /// The device, as the application names it.
    pub device: DeviceId,
}

/// Tokens that are not accepted any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// All of a user.
    User(Uid),
    /// Those that one of a user's devices registers with.
    Device(Device),
    /// One, by its id.
    Token(Box<str>),
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revocation {
    /// Of what.
    pub what: Revoked,
    /// Tokens that were issued up to this moment; later ones are accepted.
    pub issued_until: UnixMillis,
    /// From then on no such token is valid anyway, and nothing is remembered.
    pub forget_at: UnixMillis,
    /// The user whose device was displaced; `None` if an operator has requested the revocation.
    pub displaced: Option<Uid>,
}

/// Revocations of displaced devices that are kept of one user. One more takes the place of the one that would be forgotten first.
pub const MOST_DISPLACED: usize = 100;

/// A device that comes in.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The device.
    pub device: Device,
    /// A client has named it itself.
    pub named: bool,
    /// Somebody waits for it. Otherwise it may wait a moment for something that is urgent, and share its transaction.
    pub urgent: bool,
}

/// What a device's user has read.
#[derive(Debug, Clone)]
pub struct Read {
    /// Who, and by which device: reading implies that it has everything up to there.
    pub by: Device,
    /// The conversation.
    pub conv: ConvId,
    /// Up to here; beyond the head means the head.
    pub seq: Seq,
}

/// What became of a [`Read`].
#[derive(Debug, Clone)]
pub struct ReadMark {
    /// The read position, which never moves backwards.
    pub seq: Seq,
    /// It has moved.
    pub moved: bool,
    /// Whose conversation it is.
    pub kind: ConvKind,
    /// A team's members at the commit.
    pub members: Option<Members>,
}

/// A message to take back.
#[derive(Debug, Clone)]
pub struct Recall {
    /// Which.
    pub mid: Mid,
    /// Its sender; anybody else is refused with [`StoreError::Forbidden`].
    pub by: Uid,
    /// The kind of the message that tells of it; one of this kind cannot be taken back itself.
    pub kind: u16,
    /// The payload of the message that tells of it.
    pub data: Arc<RawValue>,
    /// How old it may be, in milliseconds; older: [`StoreError::Forbidden`].
    pub window_ms: u64,
}

/// What became of a [`Recall`].
#[derive(Debug, Clone)]
pub struct Recalled {
    /// The message that tells of it.
    pub appended: Appended,
    /// Whose conversation it is.
    pub kind: ConvKind,
}

/// A change to a team.
#[derive(Debug, Clone)]
pub enum TeamChange {
    /// Creates the team (sends nothing), or replaces its name and members (one 16 / 17 for each difference).
    Put {
        /// Shown to people.
        name: String,
        /// Any order, duplicates allowed.
        members: Vec<Uid>,
    },
    /// Adds members; one 16 for each that was none.
    Add(Vec<Uid>),
    /// Removes members; one 17 for each that was one.
    Remove(Vec<Uid>),
    /// Deletes the team; its conversation is closed to everyone.
    Delete,
}

/// A team.
#[derive(Debug, Clone)]
pub struct Team {
    /// Its key.
    pub team: TeamId,
    /// Shown to people.
    pub name: String,
    /// Its conversation.
    pub conv: ConvId,
    /// Its members.
    pub members: Members,
}

/// A 16 or 17 that a [`TeamChange`] wrote.
#[derive(Debug, Clone)]
pub struct TeamNotice {
    /// 16 or 17.
    pub kind: u16,
    /// Who entered or left.
    pub uid: Uid,
    /// `{"team","uid"}`.
    pub data: Arc<RawValue>,
    /// The message's number.
    pub seq: Seq,
    /// The message's id.
    pub mid: Mid,
    /// The server's time.
    pub ts: UnixMillis,
}

/// What a [`TeamChange`] did.
#[derive(Debug, Clone)]
pub struct TeamChanged {
    /// The team after the change (before it, when deleted).
    pub team: Team,
    /// The team was made by this change.
    pub created: bool,
    /// In `seq` order. All go to the members after the change; a 17 also to the one who left.
    pub notices: Vec<TeamNotice>,
}
