//! Checks that a call has an API key with the scope that it needs.
//!
//! Invariants: the key comes in a single header `Authorization: Bearer <key>` and in no other way. Neither
//! the answer nor the log repeats what the caller sent as its key.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::api::Api;
use super::body;
use super::calls::HeldBytes;
use super::problem::Problem;
use super::scopes::{self, Need};
use crate::Gateway;
use crate::caller::Caller;
use crate::clock;
use crate::config::{Scope, is_key};
use crate::keys::{Denied, Granted};
use crate::metrics::{ApiKeyLabel, ReasonLabel};

/// The gateway's handle, for a call that is made with this API key.
pub(super) struct Calling(pub(super) Gateway);

impl FromRequestParts<Arc<Api>> for Calling {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, api: &Arc<Api>) -> Result<Self, Infallible> {
        Ok(Self(match head.extensions.get::<Caller>() {
            Some(caller) => api.gateway.for_caller(caller.clone()),
            None => api.gateway.clone(),
        }))
    }
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyRefusal {
    /// The header Authorization is missing.
    Missing,
    /// There are several headers Authorization, or the header is not `Bearer <key>`.
    Malformed,
    /// The server does not accept the key.
    Denied(Denied),
    /// The key lacks this scope.
    Scope(Scope),
}

impl KeyRefusal {
    /// The name of the reason in the metric and the log.
    fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Denied(Denied::Unknown) => "unknown",
            Self::Denied(Denied::Expired) => "expired",
            Self::Scope(_) => "scope",
        }
    }
}

/// The challenge for a key that is unknown or has expired (RFC 6750, section 3).
const INVALID: &str = "Bearer realm=\"mynah\", error=\"invalid_token\"";

impl From<KeyRefusal> for Problem {
    fn from(refusal: KeyRefusal) -> Self {
        let unauthenticated = |detail| Self::new(StatusCode::UNAUTHORIZED, detail);
        match refusal {
            KeyRefusal::Missing => {
                unauthenticated("The API needs a key: send the header \"Authorization: Bearer <api key>\".")
            }
            KeyRefusal::Malformed => {
                unauthenticated("A call must have one header Authorization, and that must be \"Bearer <api key>\".")
            }
            KeyRefusal::Denied(Denied::Unknown) => unauthenticated(
                "This is not an API key of this server: use one of auth.api_keys, the one in the file api-key of the data \
                 directory, or one that `mynah api-key add` creates.",
            )
            .challenge(INVALID),
            KeyRefusal::Denied(Denied::Expired) => {
                unauthenticated("This API key has expired: create a new one with `mynah api-key rotate`.")
                    .challenge(INVALID)
            }
            KeyRefusal::Scope(scope) => {
                let name = scope.name();
                Self::new(
                    StatusCode::FORBIDDEN,
                    format!(
                        "This API key lacks the scope \"{name}\", which this call needs: use a key that was made with it."
                    ),
                )
                .challenge(format!(
                    "Bearer realm=\"mynah\", error=\"insufficient_scope\", scope=\"{name}\""
                ))
            }
        }
    }
}

/// The key that a call sends: the text after the name of the scheme and spaces, in its only header
/// Authorization (RFC 9110, section 11.4).
fn offered(headers: &HeaderMap) -> Result<&str, KeyRefusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(KeyRefusal::Missing)?;
    if values.next().is_some() {
        return Err(KeyRefusal::Malformed);
    }
    let (scheme, key) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(KeyRefusal::Malformed)?;
    let key = key.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") && is_key(key) {
        Ok(key)
    } else {
        Err(KeyRefusal::Malformed)
    }
}

/// The name of the call's key, if it is valid and has the scopes that the call needs.
fn admit(api: &Api, headers: &HeaderMap, need: Need) -> Result<Arc<str>, KeyRefusal> {
    let key = offered(headers)?;
    let granted = api.keys.check(key, clock::unix_millis());
    let Granted { name, scopes } = granted.map_err(KeyRefusal::Denied)?;
    if let Need::Scopes(needed) = need
        && let Some(missing) = needed.iter().find(|scope| !scopes.has(*scope))
    {
        return Err(KeyRefusal::Scope(missing));
    }
    let label = ApiKeyLabel { key: name.clone() };
    api.metrics.api_calls.get_or_create(&label).inc();
    Ok(name)
}

/// Answers a call if it has the key that it needs and the limits allow it.
pub(super) async fn require(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let need = scopes::need(request.method(), route, request.uri().path(), api.metrics_key);
    if need == Need::Nothing {
        return next.run(request).await;
    }
    let key = match admit(&api, request.headers(), need) {
        Ok(key) => key,
        Err(refusal) => {
            let reason = refusal.reason();
            tracing::debug!(reason, route, "refused a call of the API because of its key");
            api.metrics
                .api_refused
                .get_or_create(&ReasonLabel { reason })
                .inc();
            api.keys.note_refusal(reason, clock::now());
            return Problem::from(refusal).into_response();
        }
    };
    // The metrics are not subject to the limits of calls, so that they can be read when a limit is reached.
    if !scopes::is_api(request.uri().path()) {
        return next.run(request).await;
    }
    answer(&api, &key, request, next)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

/// Answers a call within the limits of all calls.
async fn answer(api: &Api, key: &Arc<str>, request: Request, next: Next) -> Result<Response, Problem> {
    let key = api.calls.key(key);
    api.calls.count(&key, &api.metrics)?;
    let has_route = request.extensions().get::<MatchedPath>().is_some();
    // The body of a call to an unknown route is not read. Its bytes are held until the answer is complete.
    let (mut request, _body) = if has_route {
        body::receive(request, &key, api).await?
    } else {
        (request, HeldBytes::default())
    };
    let slot = api.calls.take_slot(&key, &api.metrics).await?;
    request.extensions_mut().insert(key.appends.clone());
    let response = next.run(request).await;
    let (head, body) = response.into_parts();
    // The handlers build the answer in one piece, so this copies nothing.
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .map_err(|_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
    let mut held = HeldBytes::default();
    api.calls.hold(&mut held, &key, body.len(), &api.metrics).await?;
    drop(slot);
    Ok(Response::from_parts(
        head,
        Body::new(mynah_front::Body::holding(body, held)),
    ))
}
