//! Teams: creating, reading and deleting them, and changing their members.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::Api;
use super::body::Json;
use super::errors::Errors;
use super::fields::{IdText, List, UidField};
use super::keys::Calling;
use super::path::Path;
use super::problem::Problem;
use super::users::Uids;
use crate::ids::{ConvId, TeamId, Uid};
use crate::store;

/// The length of the longest name of a team, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// A team to create or replace.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct TeamBody {
    /// The name that people see. Without it the team is named like its key.
    #[schema(max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
    /// The members. One call may name up to `limits.uids_per_call`; further calls can add more.
    #[schema(value_type = Vec<UidField>, max_items = 10_000)]
    members: List<UidField>,
}

/// A team.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Team {
    /// The team's key.
    #[schema(value_type = String)]
    team: TeamId,
    /// The name that people see.
    name: String,
    /// The members, sorted.
    #[schema(value_type = Vec<String>)]
    members: Vec<Uid>,
    /// The team's conversation.
    #[schema(value_type = String)]
    conv: ConvId,
}

type TeamResult = Result<axum::Json<Team>, Problem>;

/// Create a team, or replace its name and members; messages of the kinds 16 and 17 announce the changes
#[utoipa::path(put, path = "/v1/teams/{team}", tag = "teams",
    params(("team" = inline(IdText), Path, description = "The team's key")), request_body = TeamBody,
    responses((status = 200, description = "The team", body = Team), Errors))]
pub(super) async fn put(
    Calling(gateway): Calling,
    Path(team): Path<TeamId>,
    Json(body): Json<TeamBody>,
) -> TeamResult {
    let name = body.name.unwrap_or_else(|| team.as_str().to_owned());
    if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(Problem::malformed(format!(
            "\"name\" must be at most {MAX_NAME_BYTES} bytes, without control characters."
        )));
    }
    let members = body.members.uids(&gateway, &mut 0)?;
    answer(gateway.put_team(team, name, members).await)
}

/// Read a team
#[utoipa::path(get, path = "/v1/teams/{team}", tag = "teams",
    params(("team" = inline(IdText), Path, description = "The team's key")),
    responses((status = 200, description = "The team", body = Team), Errors))]
pub(super) async fn get(State(api): State<Arc<Api>>, Path(team): Path<TeamId>) -> TeamResult {
    answer(api.gateway.team(&team).await)
}

/// Delete a team; nobody can read its conversation from then on
#[utoipa::path(delete, path = "/v1/teams/{team}", tag = "teams",
    params(("team" = inline(IdText), Path, description = "The team's key")),
    responses((status = 204, description = "Deleted"), Errors))]
pub(super) async fn delete(
    Calling(gateway): Calling,
    Path(team): Path<TeamId>,
) -> Result<StatusCode, Problem> {
    gateway.delete_team(team).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Add members; a message of the kind 16 announces each new member to the members
#[utoipa::path(post, path = "/v1/teams/{team}/members", tag = "teams",
    params(("team" = inline(IdText), Path, description = "The team's key")), request_body = Uids,
    responses((status = 200, description = "The team", body = Team), Errors))]
pub(super) async fn add(
    Calling(gateway): Calling,
    Path(team): Path<TeamId>,
    Json(body): Json<Uids>,
) -> TeamResult {
    let uids = body.uids.uids(&gateway, &mut 0)?;
    answer(gateway.add_members(team, uids).await)
}

/// Remove a member; a message of the kind 17 announces it to the members and to the removed one
#[utoipa::path(delete, path = "/v1/teams/{team}/members/{uid}", tag = "teams",
    params(("team" = inline(IdText), Path, description = "The team's key"), ("uid" = inline(IdText), Path, description = "The member")),
    responses((status = 200, description = "The team", body = Team), Errors))]
pub(super) async fn remove(
    Calling(gateway): Calling,
    Path(team): Path<TeamId>,
    Path(uid): Path<Uid>,
) -> TeamResult {
    answer(gateway.remove_members(team, vec![uid]).await)
}

fn answer(result: Result<store::Team, crate::Reject>) -> TeamResult {
    let team = result?;
    Ok(axum::Json(Team {
        team: team.team,
        name: team.name,
        members: team.members.to_vec(),
        conv: team.conv,
    }))
}
