//! Sending messages: `POST /v1/messages` and `POST /v1/messages/batch`.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::api::Api;
use super::body::Json;
use super::errors::Errors;
use super::fields::{CidField, KindField, List, Object, TeamField, UidField};
use super::keys::Calling;
use super::problem::Problem;
use crate::ids::{ConvId, Mid, Seq, Uid};
use crate::{By, Reject, SendOrder, Sent, Stored, To, UserResult};

/// A message to send.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Message {
    /// The number of the kind.
    #[serde(rename = "type")]
    #[schema(value_type = u16, example = 6)]
    kind: KindField,
    /// The recipients: exactly one of the four fields.
    #[schema(value_type = Recipients)]
    to: Object<Recipients>,
    /// The sender. Without it, pair kinds are sent from `send.system_uid`.
    from: Option<UidField>,
    /// The payload: any JSON value, passed on byte for byte.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    /// The sender's own id for the message. A message with the same id within the dedupe window is the same
    /// message.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    cid: Option<CidField>,
    /// Whether users who are offline are notified. Without it the kind decides.
    push: Option<bool>,
    /// The time from now after which a notification expires. The message stays stored.
    #[schema(minimum = 1, maximum = 9_223_372_036_854_775_807_i64)]
    ttl_ms: Option<u64>,
}

/// The recipients of a message: exactly one of the four fields.
#[derive(Debug, Deserialize)]
pub(super) struct Recipients {
    user: Option<UidField>,
    users: Option<List<UidField>>,
    team: Option<TeamField>,
    everyone: Option<bool>,
}

impl PartialSchema for Recipients {
    fn schema() -> RefOr<Schema> {
        let users = ArrayBuilder::new()
            .items(Ref::from_schema_name(UidField::name()))
            .min_items(Some(1))
            .max_items(Some(10_000));
        let everyone = ObjectBuilder::new()
            .schema_type(Type::Boolean)
            .enum_values(Some([true]));
        // Code generators name the alternatives by their titles.
        let one = |title: &str, name: &str, about: &str, schema: RefOr<Schema>| {
            ObjectBuilder::new()
                .title(Some(title))
                .property(name, schema)
                .required(name)
                .description(Some(about))
        };
        OneOfBuilder::new()
            .description(Some("The recipients: exactly one of the four fields."))
            .item(one(
                "ToUser",
                "user",
                "One user.",
                Ref::from_schema_name(UidField::name()).into(),
            ))
            .item(one(
                "ToUsers",
                "users",
                "Several users; a user who is named twice gets the message once.",
                users.into(),
            ))
            .item(one(
                "ToTeam",
                "team",
                "A team's members.",
                Ref::from_schema_name(TeamField::name()).into(),
            ))
            .item(one(
                "ToEveryone",
                "everyone",
                "All users who are connected; the message is not stored.",
                everyone.into(),
            ))
            .into()
    }
}

impl ToSchema for Recipients {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((UidField::name().into_owned(), UidField::schema()));
        schemas.push((TeamField::name().into_owned(), TeamField::schema()));
    }
}

/// Messages to send, in order.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Batch {
    /// The messages, up to `limits.messages_per_call`.
    #[schema(value_type = Vec<Message>, max_items = 1_000)]
    messages: List<Box<RawValue>>,
}

/// The result of sending a message.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SendResult {
    /// For users: one result for each, in the order in which they were first named.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<UserOutcome>>,
    /// For a team: the message's id, unless the kind is not stored.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    mid: Option<Mid>,
    /// For a team: the conversation.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    conv: Option<ConvId>,
    /// For a team: the message's number in the conversation.
    #[schema(value_type = Option<u64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    /// For a team: `true` if a message with the sender's `cid` is stored already; `mid`, `conv` and `seq` are
    /// those of that message.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    /// The number of users to whom the message was delivered.
    online: usize,
    /// The number of users to whom it was not delivered; absent if it was sent to everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    offline: Option<usize>,
}

/// The result of sending a message to one user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserOutcome {
    /// The user.
    #[schema(value_type = String)]
    uid: Uid,
    /// Whether the message was put into the queue of at least one live connection.
    delivered: bool,
    /// The message's id, unless the kind is not stored.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    mid: Option<Mid>,
    /// The conversation.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    conv: Option<ConvId>,
    /// The message's number in the conversation.
    #[schema(value_type = Option<u64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    /// `true` if a message with the sender's `cid` is stored already; `mid`, `conv` and `seq` are those of
    /// that message.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
}

/// The results of a batch, in the order of its messages.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchResult {
    /// One result for each message.
    results: Vec<BatchItem>,
}

/// The result of one message of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchItem {
    /// The message was sent.
    Sent(SendResult),
    /// The message was refused.
    #[schema(title = "Refused")]
    Refused {
        /// The HTTP status that a call with this message alone would have.
        code: u16,
        /// One sentence that says what to change.
        error: String,
    },
}

/// Send to a user, several users, a team, or everyone who is connected
#[utoipa::path(post, path = "/v1/messages", tag = "messages", request_body = Message,
    responses((status = 200, description = "Sent; what is stored is durable", body = SendResult), Errors))]
pub(super) async fn send(
    State(api): State<Arc<Api>>,
    Calling(gateway): Calling,
    Json(message): Json<Message>,
) -> Result<axum::Json<SendResult>, Problem> {
    let order = message.order(&api, &mut 0)?;
    let sent = gateway.send(order).await?;
    Ok(axum::Json(sent.into()))
}

/// Send several messages, in order; each succeeds or fails by itself
#[utoipa::path(post, path = "/v1/messages/batch", tag = "messages", request_body = Batch,
    responses((status = 200, description = "One result for each message", body = BatchResult), Errors))]
pub(super) async fn send_batch(
    State(api): State<Arc<Api>>,
    Calling(gateway): Calling,
    Json(batch): Json<Batch>,
) -> Result<axum::Json<BatchResult>, Problem> {
    let most = api.limits.messages_per_call;
    if batch.messages.len > most {
        let why = format!("A batch may have at most {most} messages; send the rest in another call.");
        return Err(api.metrics.over("messages_per_call", Problem::too_large(why)));
    }
    let mut named = 0;
    let orders = batch.messages.into_elements().into_iter().map(|raw| {
        let message: Message = api.read(raw.get(), "message").map_err(Reject::malformed)?;
        message.order(&api, &mut named)
    });
    let results = gateway.send_batch(orders.collect()).await;
    Ok(axum::Json(BatchResult {
        results: results.into_iter().map(BatchItem::from).collect(),
    }))
}

impl Message {
    /// The order for the gateway. `named` counts the users that the call has named so far.
    fn order(self, api: &Api, named: &mut usize) -> Result<SendOrder, Reject> {
        let kind = self.kind.0.ok_or_else(Reject::no_such_kind)?;
        if self.ttl_ms.is_some_and(|ttl_ms| i64::try_from(ttl_ms).is_err()) {
            return Err(Reject::malformed(format!(
                "\"ttl_ms\" must be at most {}; leave it out to use push.job_ttl_ms.",
                i64::MAX
            )));
        }
        if self.ttl_ms == Some(0) {
            return Err(Reject::malformed(
                "\"ttl_ms\" must be 1 or more; set \"push\" to false to send no notification.",
            ));
        }
        Ok(SendOrder {
            kind,
            to: self.to.0.to(api, named)?,
            from: self.from.map(|from| from.0),
            data: Arc::from(self.data),
            cid: self.cid.map(|cid| cid.0),
            push: self.push,
            ttl_ms: self.ttl_ms,
            by: By::Api,
        })
    }
}

impl Recipients {
    fn to(self, api: &Api, named: &mut usize) -> Result<To, Reject> {
        match (self.user, self.users, self.team, self.everyone) {
            (Some(uid), None, None, None) => Ok(To::User(uid.0)),
            (None, Some(users), None, None) => Ok(To::Users(users.uids(&api.gateway, named)?)),
            (None, None, Some(team), None) => Ok(To::Team(team.0)),
            (None, None, None, Some(true)) => Ok(To::Everyone),
            (None, None, None, Some(false)) => {
                Err(Reject::malformed("\"to.everyone\" must be true, or be left out."))
            }
            _ => Err(Reject::malformed(
                "\"to\" must have exactly one of \"user\", \"users\", \"team\" and \"everyone\".",
            )),
        }
    }
}

impl From<Sent> for SendResult {
    fn from(sent: Sent) -> Self {
        let (results, stored, online, offline) = match sent {
            Sent::Users {
                results,
                online,
                offline,
            } => (Some(results), None, online, Some(offline)),
            Sent::Team {
                stored,
                online,
                offline,
            } => (None, stored, online, Some(offline)),
            Sent::Everyone { online } => (None, None, online, None),
        };
        Self {
            results: results.map(|results| results.into_iter().map(UserOutcome::from).collect()),
            mid: stored.map(|at| at.mid),
            conv: stored.map(|at| at.conv),
            seq: stored.map(|at| at.seq),
            duplicate: duplicate(stored),
            online,
            offline,
        }
    }
}

impl From<UserResult> for UserOutcome {
    fn from(result: UserResult) -> Self {
        let stored = result.stored;
        Self {
            uid: result.uid,
            delivered: result.delivered,
            mid: stored.map(|at| at.mid),
            conv: stored.map(|at| at.conv),
            seq: stored.map(|at| at.seq),
            duplicate: duplicate(stored),
        }
    }
}

/// `Some(true)` for a duplicate, otherwise `None`, so that the field is left out.
fn duplicate(stored: Option<Stored>) -> Option<bool> {
    stored.filter(|at| at.duplicate).map(|_| true)
}

impl From<Result<Sent, Reject>> for BatchItem {
    fn from(result: Result<Sent, Reject>) -> Self {
        match result {
            Ok(sent) => Self::Sent(sent.into()),
            Err(reject) => Self::Refused {
                code: reject.code.number(),
                error: reject.error.into_owned(),
            },
        }
    }
}
