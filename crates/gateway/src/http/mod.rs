//! The HTTP API for the backend (docs/PROTOCOL.md#8-http-api), and all other requests that are not Socket.IO.
//! A handler only reads the call, asks the gateway and writes the answer.
//!
//! Invariants: every path under `/v1` except the description needs a key, even if there is nothing at it, and
//! every route needs a key with its scope (`scopes.rs`). Every error is a problem document.

mod api;
mod body;
mod calls;
mod doors;
mod errors;
mod fields;
mod health;
mod history;
mod hosts;
mod keys;
mod messages;
mod page;
mod pages;
mod path;
mod problem;
mod revocations;
mod scopes;
mod teams;
#[cfg(test)]
mod tests;
mod users;

use std::sync::{Arc, LazyLock};

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use api::Api;
pub use calls::Calls;
pub use doors::Door;
use errors::Errors;
pub use hosts::Hosts;
use problem::{PROBLEM_JSON, Problem, ProblemBody};
pub(crate) use scopes::OPENAPI_PATH;

#[derive(OpenApi)]
#[openapi(
    components(schemas(ProblemBody)),
    info(
        title = "Mynah",
        description = "A chat gateway: messages, connections, teams, and the history of conversations.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    )
)]
struct Description;

/// The routes that the description has, and the description.
fn described() -> (Router<Arc<Api>>, utoipa::openapi::OpenApi) {
    let (router, mut description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(messages::send))
        .routes(routes!(messages::send_batch))
        .routes(routes!(users::user))
        .routes(routes!(users::online))
        .routes(routes!(users::sign_out))
        .routes(routes!(users::sign_out_self))
        .routes(routes!(revocations::revoke))
        .routes(routes!(teams::put, teams::get, teams::delete))
        .routes(routes!(teams::add))
        .routes(routes!(teams::remove))
        .routes(routes!(history::messages))
        .routes(routes!(history::conversations))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi))
        .split_for_parts();
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key, made by `mynah api-key add`. The names beside it at each call are the scopes that the key must have.",
        ))
        .build();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = description.components.get_or_insert_default();
    components.add_security_scheme(scopes::SCHEME, SecurityScheme::Http(key));
    components.add_security_scheme("user_token", token);
    scopes::describe(&mut description);
    (router, description)
}

/// Describe this API
#[utoipa::path(get, path = "/v1/openapi.json", tag = "operation",
    responses((status = 200, description = "OpenAPI 3", body = std::collections::HashMap<String, serde_json::Value>), Errors))]
async fn openapi() -> Json<&'static utoipa::openapi::OpenApi> {
    static DESCRIPTION: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(|| described().1);
    Json(&DESCRIPTION)
}

/// All routes that are not Socket.IO and that `door` serves.
pub fn router(api: Arc<Api>, door: Door) -> Router {
    let (mut router, _) = described();
    if api.open {
        router = router.merge(page::router());
    }
    router
        .route("/v1/users/online", get(users::user_named_online))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), keys::require))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), pages::sign_out))
        .layer(middleware::from_fn_with_state(door, doors::only_here))
        .layer(middleware::from_fn(only_problems))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), health::count))
        .with_state(api)
}

/// Turns errors that the framework has written (404, 405) into problem documents.
async fn only_problems(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_ours = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM_JSON);
    if is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let mut problem = Problem::of_status(status).into_response();
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Some(allow) = response.headers().get(header::ALLOW)
    {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}
