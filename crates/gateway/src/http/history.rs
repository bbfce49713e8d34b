//! The chat record.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::fields::IdText;
use super::path::{ConvPath, Query, UidPath};
use super::problem::Problem;
use super::{Api, Refusals};
use crate::ids::{ConvId, PairClass, Seq, TeamId, Uid};
use crate::store::{self, ConvKind, Span};

/// A message of the record, as [`crate::Envelope`] writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is written elsewhere")]
pub(super) struct Envelope {
    /// The kind's number.
    #[schema(rename = "type")]
    kind: u16,
    /// The payload; null when recalled.
    #[schema(value_type = Object)]
    data: (),
    /// The message's id.
    mid: String,
    /// The conversation.
    conv: String,
    /// The message's number in it.
    seq: u64,
    /// The sender; absent where there is none.
    from: Option<String>,
    /// The sender's own id; absent where it gave none.
    cid: Option<String>,
    /// Its sender took it back; absent otherwise.
    recalled: Option<bool>,
    /// The server's time, in milliseconds since 1970.
    ts: u64,
}

/// A part of a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Messages {
    /// The conversation.
    #[schema(value_type = String)]
    conv: ConvId,
    /// With `before` newest first, else oldest first.
    #[schema(value_type = Vec<Envelope>)]
    messages: Vec<Box<RawValue>>,
    /// The newest message's number.
    #[schema(value_type = u64)]
    head: Seq,
    /// There is more in this direction.
    more: bool,
}

/// A user's conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Conversation {
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
    /// What a device has; the API asks for no device, so it is 0.
    #[schema(value_type = u64)]
    cursor: Seq,
    /// Read by the user up to here.
    #[schema(value_type = u64)]
    read: Seq,
    /// Unread messages.
    unread: u64,
    /// The newest message.
    #[schema(value_type = Option<Envelope>)]
    last: Option<Box<RawValue>>,
}

/// A page of a user's conversations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConversationPage {
    /// Newest first.
    conversations: Vec<Conversation>,
    /// Give it as `after` to get the next page; null at the end.
    next: Option<String>,
}

/// A part of a conversation: after a number, oldest first (from the beginning when neither is given), or before one, newest first
#[utoipa::path(get, path = "/v1/conversations/{conv}/messages", tag = "record", security(("api_key" = [])),
    params(
        ("conv" = String, Path, description = "The conversation", pattern = "^[0-9a-f]{32}$"),
        ("after" = Option<u64>, Query, description = "Messages after this number, oldest first"),
        ("before" = Option<u64>, Query, description = "Messages before this number, newest first"),
        ("limit" = Option<u32>, Query, description = "Most messages, 1 to 500; 100 when absent", minimum = 1, maximum = 500),
    ),
    responses((status = 200, description = "The messages", body = Messages), Refusals))]
pub(super) async fn messages(
    State(api): State<Arc<Api>>,
    ConvPath(conv): ConvPath,
    query: Query,
) -> Result<axum::Json<Messages>, Problem> {
    let span = match (query.seq("after")?, query.seq("before")?) {
        (Some(_), Some(_)) => {
            return Err(Problem::malformed(
                "The query must have after or before, not both.",
            ));
        }
        (None, Some(before)) => Span::Before(Seq(before)),
        (after, None) => Span::After(Seq(after.unwrap_or(0))),
    };
    let part = api.gateway.history(conv, span, query.limit()?).await?;
    let messages = part.messages.iter().map(envelope).collect::<Result<_, _>>()?;
    Ok(axum::Json(Messages {
        conv,
        messages,
        head: part.head,
        more: part.more,
    }))
}

/// A user's conversations, newest first
#[utoipa::path(get, path = "/v1/users/{uid}/conversations", tag = "record", security(("api_key" = [])),
    params(
        ("uid" = inline(IdText), Path, description = "The user"),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<u32>, Query, description = "Most conversations, 1 to 500; 100 when absent", minimum = 1, maximum = 500),
    ),
    responses((status = 200, description = "The conversations", body = ConversationPage), Refusals))]
pub(super) async fn conversations(
    State(api): State<Arc<Api>>,
    UidPath(uid): UidPath,
    query: Query,
) -> Result<axum::Json<ConversationPage>, Problem> {
    let after = query.text("after")?.map(str::to_owned);
    let page = api.gateway.conversations(&uid, after, query.limit()?).await?;
    let conversations = page
        .conversations
        .into_iter()
        .map(|line| Conversation::of(&uid, line))
        .collect::<Result<_, _>>()?;
    Ok(axum::Json(ConversationPage {
        conversations,
        next: page.next,
    }))
}

fn envelope(message: &store::Message) -> Result<Box<RawValue>, Problem> {
    RawValue::from_string(crate::Envelope::from(message).to_json()).map_err(|error| {
        tracing::error!(%error, mid = %message.mid, "a message of the record is not JSON");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "A message of the record is broken; see the server's log.",
        )
    })
}

impl Conversation {
    fn of(uid: &Uid, line: store::Conversation) -> Result<Self, Problem> {
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
        Ok(Self {
            conv: line.conv,
            kind,
            peer,
            team,
            head: line.head,
            cursor: Seq(0),
            read: line.read,
            unread: line.unread,
            last: line.last.as_ref().map(envelope).transpose()?,
        })
    }
}
