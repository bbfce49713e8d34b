//! The history in the form that clients and the API get.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Envelope, trusted};
use crate::ids::{ConvId, PairClass, Seq, TeamId, Uid};
use crate::store::{self, ConvKind, Message};

/// A stored message as JSON.
pub(crate) fn envelope(message: &Message) -> Box<RawValue> {
    trusted(Envelope::from(message).to_json())
}

/// A message of the history.
// This describes the output of `envelope`.
#[derive(ToSchema)]
#[schema(as = Envelope)]
#[expect(dead_code, reason = "describes what Envelope writes")]
pub(crate) struct Described {
    /// The kind's number.
    #[schema(rename = "type")]
    kind: u16,
    /// The payload, any JSON value; null when the message was recalled.
    data: Value,
    /// The message's id.
    mid: String,
    /// The conversation.
    conv: String,
    /// The message's number in it.
    seq: u64,
    /// The sender; absent if there is none.
    from: Option<String>,
    /// The sender's own id for the message; absent if it gave none.
    cid: Option<String>,
    /// True when its sender recalled the message; absent otherwise.
    recalled: Option<bool>,
    /// The server's time, in milliseconds since 1970.
    ts: u64,
}

/// A user's conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Conversation {
    /// The conversation.
    #[schema(value_type = String)]
    conv: ConvId,
    /// `pair`, `pair_doctor`, `pair_teammate`, `pair_doctor_friend`, `notices` or `team`.
    kind: &'static str,
    /// The other user of a pair.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Uid>,
    /// The team of a team's conversation.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<TeamId>,
    /// The newest message's number.
    #[schema(value_type = u64)]
    head: Seq,
    /// The `seq` up to which the device has acknowledged everything. It is 0 in the API, which names no
    /// device.
    #[schema(value_type = u64)]
    cursor: Seq,
    /// The `seq` up to which the user has read.
    #[schema(value_type = u64)]
    read: Seq,
    /// Unread messages.
    unread: u64,
    /// The newest message; null if the user may see none.
    #[schema(value_type = Option<Described>, required)]
    last: Option<Box<RawValue>>,
}

impl Conversation {
    /// The conversation, as `uid` sees it.
    pub(crate) fn of(uid: &Uid, line: store::Conversation) -> Self {
        let kind = match &line.kind {
            ConvKind::Pair(PairClass::Plain, ..) => "pair",
            ConvKind::Pair(PairClass::Doctor, ..) => "pair_doctor",
            ConvKind::Pair(PairClass::Teammate, ..) => "pair_teammate",
            ConvKind::Pair(PairClass::DoctorFriend, ..) => "pair_doctor_friend",
            ConvKind::Notices(_) => "notices",
            ConvKind::Team(_) => "team",
        };
        let (peer, team) = match line.kind {
            ConvKind::Pair(_, one, other) => (Some(if one == *uid { other } else { one }), None),
            ConvKind::Notices(_) => (None, None),
            ConvKind::Team(team) => (None, Some(team)),
        };
        Self {
            conv: line.conv,
            kind,
            peer,
            team,
            head: line.head,
            cursor: line.cursor,
            read: line.read,
            unread: line.unread,
            last: line.last.as_ref().map(envelope),
        }
    }
}
