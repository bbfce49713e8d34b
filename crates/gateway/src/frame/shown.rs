//! The record as clients and the API see it.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Envelope, trusted};
use crate::ids::{ConvId, PairClass, Seq, TeamId, Uid};
use crate::store::{self, ConvKind, Message};

/// A stored message as JSON.
pub(crate) fn envelope(message: &Message) -> Box<RawValue> {
    trusted(Envelope::from(message).to_json())
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
    /// The asking device has everything up to here; the API asks for no device, so there it is 0.
    #[schema(value_type = u64)]
    cursor: Seq,
    /// Read by the user up to here.
    #[schema(value_type = u64)]
    read: Seq,
    /// Unread messages.
    unread: u64,
    /// The newest message.
    #[schema(value_type = Option<Object>)]
    last: Option<Box<RawValue>>,
}

impl Conversation {
    /// `uid`'s view of it.
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
