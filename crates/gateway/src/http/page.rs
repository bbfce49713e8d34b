//! The demo page at `/`, and the two calls that it makes without a key. They exist in open mode only.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json as Answer, Router};

use super::api::Api;
use super::body::Json;
use super::keys::Calling;
use super::path::Path;
use super::problem::Problem;
use super::teams::{self, Team, TeamBody};
use super::users::Online;
use crate::ids::TeamId;

/// The page may load only what this server serves, and may connect only to this server.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self' ws: wss:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The maximum number of connected users that the page shows.
const MOST_SHOWN: usize = 500;

macro_rules! files {
    ($($path:literal: $kind:literal, $file:literal;)+) => {
        &[$(($path, $kind, include_str!(concat!("../../../../web/", $file)))),+]
    };
}

/// The path, the media type and the text of each file of the page.
const FILES: &[(&str, &str, &str)] = files! {
    "/": "text/html; charset=utf-8", "index.html";
    "/style.css": "text/css; charset=utf-8", "style.css";
    "/icon.svg": "image/svg+xml", "icon.svg";
    "/app.js": "text/javascript; charset=utf-8", "app.js";
    "/element.js": "text/javascript; charset=utf-8", "element.js";
    "/inspector.js": "text/javascript; charset=utf-8", "inspector.js";
    "/kinds.js": "text/javascript; charset=utf-8", "kinds.js";
    "/record.js": "text/javascript; charset=utf-8", "record.js";
    "/rooms.js": "text/javascript; charset=utf-8", "rooms.js";
    "/socket.js": "text/javascript; charset=utf-8", "socket.js";
    "/view.js": "text/javascript; charset=utf-8", "view.js";
};

/// The routes of the page and of its calls.
pub(super) fn router() -> Router<Arc<Api>> {
    let files = FILES.iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(move || async move { file(kind, text) }))
    });
    files
        .route("/open/online", get(online))
        .route("/open/teams/{team}", put(make_team))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

/// The users who are connected.
async fn online(State(api): State<Arc<Api>>) -> Answer<Online> {
    Answer(Online {
        online: api.gateway.who_is_online(MOST_SHOWN).await,
    })
}

/// Creates a team. Changing a team needs a key, so a team that exists is refused.
async fn make_team(
    State(api): State<Arc<Api>>,
    calling: Calling,
    Path(team): Path<TeamId>,
    body: Json<TeamBody>,
) -> Result<Answer<Team>, Problem> {
    if api.gateway.team(&team).await.is_ok() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "A team of this name exists already; choose another name.",
        ));
    }
    teams::put(calling, Path(team), body).await
}
