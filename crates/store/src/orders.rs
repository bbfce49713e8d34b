//! What a store is asked to write, and the results.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{ConvKind, JobId};

use crate::ids::{Cid, ConvId, DeviceId, Mid, PairClass, Seq, TeamId, Uid};
use crate::moment::Numbers;
use crate::time::UnixMillis;

/// The destination of a message, before its conversation is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A user. The sender and the user may be the same.
    Pair {
        /// Which of the conversations of the two users.
        class: PairClass,
        /// The recipient.
        to: Uid,
    },
    /// A user's notices.
    Notices(Uid),
    /// A team.
    Team(TeamId),
}

/// The push job for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushOrder {
    /// Time from the commit during which an attempt may begin, in milliseconds.
    pub expires_in_ms: u64,
    /// Time from the commit to the first attempt, in milliseconds.
    pub delay_ms: u64,
    /// Whether the job is urgent, and belongs into [`Lane::Urgent`](super::Lane::Urgent).
    pub urgent: bool,
}

/// A message to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// The destination. A pair requires `from`.
    pub place: Place,
    /// The kind's number.
    pub kind: u16,
    /// Whether the message counts as unread.
    pub counts: bool,
    /// The sender.
    pub from: Option<Uid>,
    /// The sender's device, if the store knows it. Its cursor includes this message if it has everything
    /// before.
    pub device: Option<DeviceId>,
    /// Whether the append fails with `StoreError::Forbidden` unless `from` is a member of the team.
    pub members_only: bool,
    /// The sender's own id, by which a repeated send is recognised within the configured window.
    pub cid: Option<Cid>,
    /// Append nothing: return the message if it was appended before, or fail with
    /// [`StoreError::NotFound`](super::StoreError::NotFound).
    pub only_repeat: bool,
    /// The maximum number of conversations that the sender may begin within an hour; 0 is unlimited. Beyond
    /// it the append
    /// fails with [`StoreError::TooFast`](super::StoreError::TooFast).
    pub new_pairs_per_hour: u32,
    /// The payload, as it was sent.
    pub data: Arc<RawValue>,
    /// The push job to create in the same transaction. Its recipients are the other user of the pair, the
    /// owner of the notices, or the team's members without the sender.
    pub push: Option<PushOrder>,
}

/// A team's members at one moment: sorted, without duplicates, and shared by all messages until the team
/// changes.
pub type Members = Arc<Vec<Uid>>;

/// The result of an [`Append`].
#[derive(Debug, Clone)]
pub struct Appended {
    /// The conversation.
    pub conv: ConvId,
    /// The number of the message in the conversation.
    pub seq: Seq,
    /// The message's id.
    pub mid: Mid,
    /// The server's time of day. In a conversation it decreases only if the clock is set back by
    /// more than 10 s.
    pub ts: UnixMillis,
    /// The message is a repeated send: the values are those of the first one, and nothing was written.
    pub duplicate: bool,
    /// The members of the team at the commit; `None` for pairs, notices and repeated sends.
    pub members: Option<Members>,
    /// The push job that was created. A caller that has already reached the only recipient may finish it
    /// without reading it.
    pub push: Option<JobId>,
    /// Its numbers, if several nodes write the record.
    pub numbers: Option<Numbers>,
}

/// One of a user's devices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    /// The user.
    pub uid: Uid,
    /// The device, as the application names it.
    pub device: DeviceId,
}

/// Tokens that are no longer accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// All tokens of a user.
    User(Uid),
    /// The tokens with which a device registers.
    Device(Device),
    /// One token, by its id (`jti`).
    Token(Box<str>),
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revocation {
    /// The tokens that are revoked.
    pub what: Revoked,
    /// Tokens issued up to this time are revoked; later ones are accepted.
    pub issued_until: UnixMillis,
    /// Time from which none of these tokens is valid anyway, so that the revocation can be forgotten.
    pub forget_at: UnixMillis,
    /// The user whose device was displaced; `None` if the revocation was requested by the API.
    pub displaced: Option<Uid>,
}

/// The maximum number of revocations for displaced devices of one user. A further one replaces the one that
/// would be forgotten first.
pub const MOST_DISPLACED: usize = 100;

/// A register of a device.
#[derive(Debug, Clone)]
pub struct DeviceRegister {
    /// The device.
    pub device: Device,
    /// Whether the client has chosen the `deviceid` itself.
    pub named: bool,
    /// Whether somebody waits for it. Otherwise it may wait a moment to share the transaction of something
    /// urgent.
    pub urgent: bool,
}

/// A request to move a read position.
#[derive(Debug, Clone)]
pub struct Read {
    /// The user, and the device that has received everything up to `seq`.
    pub by: Device,
    /// The conversation.
    pub conv: ConvId,
    /// The new read position. A position beyond the head means the head.
    pub seq: Seq,
}

/// The result of a [`Read`].
#[derive(Debug, Clone)]
pub struct ReadMark {
    /// The read position, which never moves backwards.
    pub seq: Seq,
    /// Whether the position has moved.
    pub moved: bool,
    /// The sort of the conversation, and to whom it belongs.
    pub kind: ConvKind,
    /// The members of the team at the commit.
    pub members: Option<Members>,
}

/// A request to recall a message.
#[derive(Debug, Clone)]
pub struct Recall {
    /// The message to recall.
    pub mid: Mid,
    /// The user who recalls it. Only the sender may; others fail with `StoreError::Forbidden`.
    pub by: Uid,
    /// The kind of the message that announces the recall. Messages of this kind cannot be recalled.
    pub kind: u16,
    /// The payload of the message that announces the recall.
    pub data: Arc<RawValue>,
    /// Largest age of the message in milliseconds. Older ones fail with `StoreError::Forbidden`.
    pub window_ms: u64,
}

/// The result of a [`Recall`].
#[derive(Debug, Clone)]
pub struct Recalled {
    /// The message that announces the recall.
    pub appended: Appended,
    /// The sort of the conversation, and to whom it belongs.
    pub kind: ConvKind,
}

/// A change of a team.
#[derive(Debug, Clone)]
pub enum TeamChange {
    /// Creates the team without any notice, or replaces its name and members with one 16 or 17 for each
    /// difference.
    Put {
        /// The name that users see.
        name: String,
        /// The members, in any order; duplicates are allowed.
        members: Vec<Uid>,
    },
    /// Adds members, with one 16 for each new one.
    Add(Vec<Uid>),
    /// Removes members, with one 17 for each that was a member.
    Remove(Vec<Uid>),
    /// Deletes the team. Nobody can read its conversation any more.
    Delete,
}

/// A team.
#[derive(Debug, Clone)]
pub struct Team {
    /// The key of the team.
    pub team: TeamId,
    /// The name that users see.
    pub name: String,
    /// The conversation of the team.
    pub conv: ConvId,
    /// The members of the team.
    pub members: Members,
}

/// A message of kind 16 or 17 that a [`TeamChange`] has written.
#[derive(Debug, Clone)]
pub struct TeamNotice {
    /// 16 or 17.
    pub kind: u16,
    /// The user who joined or left.
    pub uid: Uid,
    /// The payload, `{"team","uid"}`.
    pub data: Arc<RawValue>,
    /// The number of the message.
    pub seq: Seq,
    /// The id of the message.
    pub mid: Mid,
    /// The server's time.
    pub ts: UnixMillis,
    /// Its numbers, if several nodes write the record.
    pub numbers: Option<Numbers>,
}

/// The result of a [`TeamChange`].
#[derive(Debug, Clone)]
pub struct TeamChanged {
    /// The team after the change; for a deleted team, before it.
    pub team: Team,
    /// Whether the change has created the team.
    pub created: bool,
    /// The notices in `seq` order. They go to the members after the change, and a 17 also to the user who
    /// left.
    pub notices: Vec<TeamNotice>,
}
