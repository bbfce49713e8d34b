//! Users: who is connected, and signing users out.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::Api;
use super::body::Json;
use super::errors::Errors;
use super::fields::{IdText, List, UidField};
use super::pages::asked_first;
use super::path::Path;
use super::problem::Problem;
use crate::ConnectionView;
use crate::ids::Uid;

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    /// The user.
    #[schema(value_type = String)]
    uid: Uid,
    /// Whether the user has a live connection.
    online: bool,
    /// The live connections.
    connections: Vec<ConnectionView>,
    /// The number of unread messages in all conversations.
    unread: u64,
}

/// A list of users.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Uids {
    /// The users, up to `limits.uids_per_call`.
    #[schema(value_type = Vec<UidField>, max_items = 10_000)]
    pub(super) uids: List<UidField>,
}

/// The users who are connected.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Online {
    /// The users, in the order of the request.
    #[schema(value_type = Vec<String>)]
    pub(super) online: Vec<Uid>,
}

/// The connections that were disconnected for good.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Closed {
    /// The number of connections.
    pub(super) closed: usize,
}

/// The user to sign out.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SignOut {
    /// The user.
    uid: UidField,
}

/// Read a user's connections; an unknown user is offline
#[utoipa::path(get, path = "/v1/users/{uid}", tag = "users",
    params(("uid" = inline(IdText), Path, description = "The user")),
    responses((status = 200, description = "The user", body = User), Errors))]
pub(super) async fn user(
    State(api): State<Arc<Api>>,
    Path(uid): Path<Uid>,
) -> Result<axum::Json<User>, Problem> {
    let view = api.gateway.user(&uid).await?;
    Ok(axum::Json(User {
        uid: view.uid,
        online: view.online,
        connections: view.connections,
        unread: view.unread,
    }))
}

/// Reads the user with the uid "online". `POST /v1/users/online` has the same path, so it needs a route of
/// its own.
pub(super) async fn user_named_online(State(api): State<Arc<Api>>) -> Result<axum::Json<User>, Problem> {
    let uid = Uid::new("online").map_err(|why| Problem::malformed(why.to_string()))?;
    user(State(api), Path(uid)).await
}

/// Ask which of these users are connected
#[utoipa::path(post, path = "/v1/users/online", tag = "users", request_body = Uids,
    responses((status = 200, description = "Those who are connected", body = Online), Errors))]
pub(super) async fn online(
    State(api): State<Arc<Api>>,
    Json(asked): Json<Uids>,
) -> Result<axum::Json<Online>, Problem> {
    let uids = asked.uids.uids(&api.gateway, &mut 0)?;
    Ok(axum::Json(Online {
        online: api.gateway.online(&uids).await,
    }))
}

/// Disconnect all connections of a user for good; the clients do not reconnect by themselves
#[utoipa::path(post, path = "/v1/users/{uid}/signout", tag = "users",
    params(("uid" = inline(IdText), Path, description = "The user")),
    responses((status = 200, description = "Done", body = Closed), Errors))]
pub(super) async fn sign_out(
    State(api): State<Arc<Api>>,
    Path(uid): Path<Uid>,
) -> Result<axum::Json<Closed>, Problem> {
    Ok(axum::Json(Closed {
        closed: api.gateway.sign_out(&uid).await,
    }))
}

/// Sign oneself out on all devices: the user of the token, or in open mode the user that the body names
#[utoipa::path(post, path = "/signout", tag = "users", security((), ("user_token" = [])), request_body = Option<SignOut>,
    responses((status = 200, description = "Done", body = Closed), Errors))]
pub(super) async fn sign_out_self(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    asked: Result<Json<SignOut>, Problem>,
) -> Result<axum::Json<Closed>, Problem> {
    let closed = if api.open {
        asked_first(&headers)?;
        api.gateway.sign_out(&asked?.0.uid.0).await
    } else {
        api.gateway.sign_out_by_token(bearer(&headers)?).await?
    };
    Ok(axum::Json(Closed { closed }))
}

/// The user's token, from the header Authorization.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    match value.and_then(|text| text.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "Send the user's token: the header \"Authorization: Bearer <token>\".",
        )),
    }
}
