//! Teams: make, show, delete, and change the members.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::Api;
use super::body::Json;
use super::fields::{IdText, UidField};
use super::keys::Calling;
use super::path::{MemberPath, TeamPath};
use super::problem::Problem;
use super::refusals::Refusals;
use super::users::Uids;
use crate::ids::{ConvId, TeamId, Uid};
use crate::store;

/// Longest name of a team, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// A team to make or replace.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct TeamBody {
    /// Shown to people; the team's key when absent.
    #[schema(max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
    /// The members; up to `limits.uids_per_call` in one call, more by further calls.
    #[schema(max_items = 10_000)]
    members: Vec<UidField>,
}

/// A team.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Team {
    /// Its key.
    #[schema(value_type = String)]
    team: TeamId,
    /// Shown to people.
    name: String,
    /// Its members, sorted.
    #[schema(value_type = Vec<String>)]
    members: Vec<Uid>,
    /// Its conversation.
    #[schema(value_type = String)]
    conv: ConvId,
}

type Answer = Result<axum::Json<Team>, Problem>;

/// Make a team, or replace its name and members; kinds 16 and 17 tell the differences
#[utoipa::path(put, path = "/v1/teams/{team}", tag = "teams",
    params(("team" = inline(IdText), Path, description = "The team's key")), request_body = TeamBody,
    responses((status = 200, description = "The team", body = Team), Refusals))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Calling(gateway): Calling,
    TeamPath(team): TeamPath,
    Json(body): Json<TeamBody>,
) -> Answer {
    let name = body.name.unwrap_or_else(|| team.as_str().to_owned());
    if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(Problem::malformed(format!(
            "\"name\" must be at most {MAX_NAME_BYTES} bytes, without control characters."
        )));
    }
    let members = Uids::from(body.members).bounded(&api)?;
    answer(gateway.put_team(team, name, members).await)
}

/// A team
#[utoipa::path(get, path = "/v1/teams/{team}", tag = "teams",
    params(("team" = inline(IdText), Path, description = "The team's key")),
    responses((status = 200, description = "The team", body = Team), Refusals))]
pub(super) async fn get(State(api): State<Arc<Api>>, TeamPath(team): TeamPath) -> Answer {
    answer(api.gateway.team(&team).await)
}

/// Delete a team; its conversation is closed to everyone
#[utoipa::path(delete, path = "/v1/teams/{team}", tag = "teams",
    params(("team" = inline(IdText), Path, description = "The team's key")),
    responses((status = 204, description = "Deleted"), Refusals))]
pub(super) async fn delete(
    Calling(gateway): Calling,
    TeamPath(team): TeamPath,
) -> Result<StatusCode, Problem> {
    gateway.delete_team(team).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Add members; kind 16 tells the members, once for each who was none
#[utoipa::path(post, path = "/v1/teams/{team}/members", tag = "teams",
    params(("team" = inline(IdText), Path, description = "The team's key")), request_body = Uids,
    responses((status = 200, description = "The team", body = Team), Refusals))]
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    Calling(gateway): Calling,
    TeamPath(team): TeamPath,
    Json(body): Json<Uids>,
) -> Answer {
    let uids = body.bounded(&api)?;
    answer(gateway.add_members(team, uids).await)
}

/// Remove a member; kind 17 tells the members and the one who left
#[utoipa::path(delete, path = "/v1/teams/{team}/members/{uid}", tag = "teams",
    params(("team" = inline(IdText), Path, description = "The team's key"), ("uid" = inline(IdText), Path, description = "The member")),
    responses((status = 200, description = "The team", body = Team), Refusals))]
pub(super) async fn remove(Calling(gateway): Calling, MemberPath(team, uid): MemberPath) -> Answer {
    answer(gateway.remove_members(team, vec![uid]).await)
}

fn answer(result: Result<store::Team, crate::Reject>) -> Answer {
    let team = result?;
    Ok(axum::Json(Team {
        team: team.team,
        name: team.name,
        members: team.members.to_vec(),
        conv: team.conv,
    }))
}
