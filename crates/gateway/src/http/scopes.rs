//! The table of the scopes that the calls need.
//!
//! Invariants: a path under `/v1` that is not in the table needs a key, even if there is nothing at it; only
//! the description needs none. A route under `/v1` that is missing from the table needs a key with all
//! scopes. The table is also the source of the scopes in the description of the API.

use axum::http::Method;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::SecurityRequirement;

use crate::config::{Scope, Scopes};

/// The path of the description of the API.
pub(crate) const OPENAPI_PATH: &str = "/v1/openapi.json";

/// The name of the security scheme in the description.
pub(super) const SCHEME: &str = "api_key";
/// The path of the metrics.
pub(super) const METRICS_PATH: &str = "/metrics";

/// The method, the route and the scope of each call.
pub(super) const CALLS: &[(&str, &str, Scope)] = &[
    ("POST", "/v1/messages", Scope::Send),
    ("POST", "/v1/messages/batch", Scope::Send),
    ("GET", "/v1/users/{uid}", Scope::Read),
    ("POST", "/v1/users/online", Scope::Read),
    // This reads the user with the uid "online", see `users::user_named_online`.
    ("GET", "/v1/users/online", Scope::Read),
    ("GET", "/v1/users/{uid}/conversations", Scope::Read),
    ("GET", "/v1/conversations/{conv}/messages", Scope::Read),
    ("GET", "/v1/teams/{team}", Scope::Read),
    ("PUT", "/v1/teams/{team}", Scope::Manage),
    ("DELETE", "/v1/teams/{team}", Scope::Manage),
    ("POST", "/v1/teams/{team}/members", Scope::Manage),
    ("DELETE", "/v1/teams/{team}/members/{uid}", Scope::Manage),
    ("POST", "/v1/users/{uid}/signout", Scope::Manage),
    ("POST", "/v1/revocations", Scope::Manage),
    // This needs a key only if `auth.metrics_key` is set.
    ("GET", METRICS_PATH, Scope::Metrics),
];

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The call needs no key.
    Nothing,
    /// The call needs any key. Its answer is an error in any case.
    Key,
    /// The call needs a key with these scopes.
    Scopes(Scopes),
}

/// What a call needs. `route` is the pattern that the path matches, if any; `path` is the path as it was
/// sent.
pub(super) fn need(method: &Method, route: Option<&str>, path: &str, metrics_key: bool) -> Need {
    let route = match route {
        Some(OPENAPI_PATH) => return Need::Nothing,
        Some(METRICS_PATH) if !metrics_key => return Need::Nothing,
        Some(route) => route,
        None if is_api(path) => return Need::Key,
        None => return Need::Nothing,
    };
    // HEAD is answered by the handler of GET.
    let method = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    let mut rows = CALLS.iter().filter(|(_, at, _)| *at == route).peekable();
    match (rows.peek().is_some(), rows.find(|(name, ..)| *name == method)) {
        (_, Some((.., scope))) => Need::Scopes(Scopes::of(&[*scope])),
        // The route has no such method: the answer is 405.
        (true, None) => Need::Key,
        (false, None) if is_api(route) => Need::Scopes(Scopes::ALL),
        (false, None) => Need::Nothing,
    }
}

/// Whether a path belongs to the API.
pub(super) fn is_api(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// Writes the scope of each call into the description.
pub(super) fn describe(description: &mut OpenApi) {
    for (method, route, scope) in CALLS {
        let Some(item) = description.paths.paths.get_mut(*route) else {
            continue;
        };
        let operation = match *method {
            "GET" => &mut item.get,
            "PUT" => &mut item.put,
            "POST" => &mut item.post,
            _ => &mut item.delete,
        };
        let Some(operation) = operation else { continue };
        let scope = scope.name();
        operation.description = Some(if *route == METRICS_PATH {
            format!("Needs no key, unless `auth.metrics_key` is set: then one with the scope `{scope}`.")
        } else {
            operation.security = Some(vec![SecurityRequirement::new(SCHEME, [scope])]);
            format!("Needs a key with the scope `{scope}`.")
        });
    }
}
