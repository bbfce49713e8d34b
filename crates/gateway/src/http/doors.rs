//! Which paths are served at which of the server's addresses.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::scopes::{METRICS_PATH, is_api};

/// An address at which the server accepts requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The only address: it serves all paths.
    Only,
    /// The address for clients, if the backend has another one.
    Public,
    /// The address for the backend (`server.admin_listen`).
    Admin,
}

impl Door {
    /// Whether `path` is served at this address.
    pub fn has(self, path: &str) -> bool {
        let is_backends = is_api(path) || path == METRICS_PATH;
        match self {
            Self::Only => true,
            Self::Public => !is_backends,
            Self::Admin => is_backends || path.starts_with("/health/"),
        }
    }
}

/// Passes a request on if its path is served at this address. Otherwise the answer is 404, even if the
/// request has a valid key.
pub(super) async fn only_here(State(door): State<Door>, request: Request, next: Next) -> Response {
    if door.has(request.uri().path()) {
        next.run(request).await
    } else {
        Problem::of_status(StatusCode::NOT_FOUND).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_serves_its_own_paths() {
        for (path, public, admin) in [
            ("/v1/messages", false, true),
            ("/v1/openapi.json", false, true),
            ("/v1/", false, true),
            ("/v1", false, true),
            ("/metrics", false, true),
            ("/health/live", true, true),
            ("/health/ready", true, true),
            ("/signout", true, false),
            ("/open/online", true, false),
            ("/socket.io/", true, false),
            ("/", true, false),
        ] {
            assert!(Door::Only.has(path), "{path}");
            assert_eq!(
                (Door::Public.has(path), Door::Admin.has(path)),
                (public, admin),
                "{path}"
            );
        }
    }
}
