//! Restrictions for web pages: under which host names they may call this server, and from which origins they
//! may sign users out.
//!
//! A page of another site can send requests to everything that its browser can reach, including this machine.
//! If a client needs no proof of who it is, the page must not reach the server under a host name of its own
//! (DNS rebinding), nor with a request that a browser sends without a preflight request (cross-site request
//! forgery).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mynah_front::{Cors, Refusal};

use super::api::Api;
use super::body::media_type;
use super::problem::Problem;

/// The path of the call by which users sign themselves out.
const SIGN_OUT: &str = "/signout";

impl Api {
    /// The answer to a request whose host name is not one of this server; `None` if the name is allowed.
    /// Calls that need an API key are not checked, because a page has no key, and neither are the health
    /// checks.
    pub(crate) fn refuse_host<B>(&self, request: &Request<B>, peer: SocketAddr) -> Option<Response> {
        let path = request.uri().path();
        if path.starts_with("/v1/") || path.starts_with("/health/") || self.hosts.admit(request) {
            return None;
        }
        self.admission.refuse(Refusal::Host, peer.ip());
        let detail = "The Host header does not name this server: in open mode use an IP address, \"localhost\", or a name in server.hosts.";
        let mut response = Problem::new(StatusCode::FORBIDDEN, detail).into_response();
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        Some(response)
    }
}

/// Allows sign-outs by pages of the origins in `server.cors_origins` and refuses those of others; answers
/// preflight requests and adds the CORS headers.
pub(super) async fn sign_out(
    State(api): State<Arc<Api>>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    if request.uri().path() != SIGN_OUT {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        Cors::preflight(request.headers()).map(axum::body::Body::new)
    } else if api.cors.admits(request.headers()) {
        next.run(request).await
    } else {
        api.admission.count(Refusal::Origin);
        tracing::debug!(?origin, "refused a sign-out: its origin is not allowed");
        Problem::new(
            StatusCode::FORBIDDEN,
            "Pages of this origin may not sign users out: server.cors_origins does not name it.",
        )
        .into_response()
    };
    api.cors.allow(origin, response.headers_mut());
    response
}

/// Headers by which a browser describes the page that sends the request; programs do not send them.
const FROM_PAGES: [&str; 3] = ["origin", "referer", "sec-fetch-site"];

/// Refuses requests that a browser sends for any page without a preflight request: those whose body is not
/// declared as JSON.
pub(super) fn asked_first(headers: &HeaderMap) -> Result<(), Problem> {
    let from_page = FROM_PAGES.iter().any(|name| headers.contains_key(*name));
    if !from_page || media_type(headers) == "application/json" {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Send the header \"Content-Type: application/json\": without it, any web page could sign users out.",
    ))
}
