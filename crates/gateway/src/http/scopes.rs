//! Which scope a key must have for which call: the one table.
//!
//! Invariants: a path under `/v1` that is not in the table, and not the description, needs a key whatever it is; a route that
//! somebody forgot to enter needs a key that may do everything. The description of the API is completed from the table.

use axum::http::Method;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::SecurityRequirement;

use crate::config::{Scope, Scopes};

/// Where the description of the API is.
pub(crate) const OPENAPI_PATH: &str = "/v1/openapi.json";

/// The security scheme of the description.
pub(super) const SCHEME: &str = "api_key";
const METRICS_PATH: &str = "/metrics";

/// Method, route, scope.
pub(super) const CALLS: &[(&str, &str, Scope)] = &[
    ("POST", "/v1/messages", Scope::Send),
    ("POST", "/v1/messages/batch", Scope::Send),
    ("GET", "/v1/users/{uid}", Scope::Read),
    ("POST", "/v1/users/online", Scope::Read),
    // The user of this name, see `users::user_named_online`.
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
    // Where auth.metrics_key asks for it.
    ("GET", METRICS_PATH, Scope::Metrics),
];

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// A key, whatever it may do: there is nothing behind but an error.
    Key,
    /// A key with these scopes.
    Scopes(Scopes),
}

/// What a call needs. `route` is the pattern that it matched, if any; `path` is as it was sent.
pub(super) fn need(method: &Method, route: Option<&str>, path: &str, metrics_key: bool) -> Need {
    let route = match route {
        Some(OPENAPI_PATH) => return Need::Nothing,
        Some(METRICS_PATH) if !metrics_key => return Need::Nothing,
        Some(route) => route,
        None if is_api(path) => return Need::Key,
        None => return Need::Nothing,
    };
    // GET answers HEAD.
    let method = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    let mut rows = CALLS.iter().filter(|(_, at, _)| *at == route).peekable();
    match (rows.peek().is_some(), rows.find(|(name, ..)| *name == method)) {
        (_, Some((.., scope))) => Need::Scopes(Scopes::of(&[*scope])),
        // Another method: 405.
        (true, None) => Need::Key,
        (false, None) if is_api(route) => Need::Scopes(Scopes::ALL),
        (false, None) => Need::Nothing,
    }
}

/// Whether a path is one of the API.
pub(super) fn is_api(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// Says at every call of the description which scope it needs.
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
