//! Reading the stored messages of conversations.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::api::Api;
use super::errors::Errors;
use super::fields::{IdText, Position};
use super::path::{Path, Query};
use super::problem::Problem;
use crate::frame::shown;
use crate::ids::{ConvId, Seq, Uid};
use crate::store::Span;

/// A page of a conversation's messages.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Messages {
    /// The conversation.
    #[schema(value_type = String)]
    conv: ConvId,
    /// Newest first if the query had `before`, otherwise oldest first.
    #[schema(value_type = Vec<shown::Described>)]
    messages: Vec<Box<RawValue>>,
    /// The number of the newest message.
    #[schema(value_type = u64)]
    head: Seq,
    /// Whether there are more messages in this direction.
    more: bool,
}

/// A page of a user's conversations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConversationPage {
    /// The conversations, newest first.
    conversations: Vec<shown::Conversation>,
    /// Send this as `after` to get the next page; null on the last page.
    #[schema(required)]
    next: Option<String>,
}

/// Read the messages after a number, oldest first (by default all), or those before a number, newest first
#[utoipa::path(get, path = "/v1/conversations/{conv}/messages", tag = "record",
    params(
        ("conv" = String, Path, description = "The conversation", pattern = "^[0-9a-f]{32}$"),
        ("after" = inline(Option<Position>), Query, description = "Messages after this number, oldest first"),
        ("before" = inline(Option<Position>), Query, description = "Messages before this number, newest first"),
        ("limit" = Option<u32>, Query, description = "The maximum number of messages, 1 to 500; 100 when absent", minimum = 1, maximum = 500),
    ),
    responses((status = 200, description = "The messages", body = Messages), Errors))]
pub(super) async fn messages(
    State(api): State<Arc<Api>>,
    Path(conv): Path<ConvId>,
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
    let messages = part.messages.iter().map(shown::envelope).collect();
    Ok(axum::Json(Messages {
        conv,
        messages,
        head: part.head,
        more: part.more,
    }))
}

/// List the conversations of a user, newest first
#[utoipa::path(get, path = "/v1/users/{uid}/conversations", tag = "record",
    params(
        ("uid" = inline(IdText), Path, description = "The user"),
        ("after" = Option<String>, Query, description = "The `next` of the previous page"),
        ("limit" = Option<u32>, Query, description = "The maximum number of conversations, 1 to 500; 100 when absent", minimum = 1, maximum = 500),
    ),
    responses((status = 200, description = "The conversations", body = ConversationPage), Errors))]
pub(super) async fn conversations(
    State(api): State<Arc<Api>>,
    Path(uid): Path<Uid>,
    query: Query,
) -> Result<axum::Json<ConversationPage>, Problem> {
    let after = query.text("after")?.map(str::to_owned);
    let page = api.gateway.conversations(&uid, after, query.limit()?).await?;
    let conversations = page
        .conversations
        .into_iter()
        .map(|line| shown::Conversation::of(&uid, line))
        .collect();
    Ok(axum::Json(ConversationPage {
        conversations,
        next: page.next,
    }))
}
