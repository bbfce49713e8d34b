//! Receives the body of a call, bounded in bytes and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::api::Api;
use super::calls::{HeldBytes, KeyCounters};
use super::problem::Problem;

/// A body must have arrived completely within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest body of a call that needs no key: anybody can make the server keep such a body in memory.
const UNKEYED_BYTES: usize = 64 << 10;

/// A JSON object, read as `T`.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let bytes = if request.uri().path().starts_with("/v1/") {
            // `keys::answer` has received the body already, with the bounds of the call's key.
            let body = axum::body::to_bytes(request.into_body(), usize::MAX);
            body.await.map_err(broken)?
        } else {
            let limit = api.limits.body_bytes.min(UNKEYED_BYTES);
            let (head, body) = request.into_parts();
            take(&head.headers, body, limit, (None, api)).await?.0
        };
        let text =
            std::str::from_utf8(&bytes).map_err(|_| Problem::malformed("The body must be JSON in UTF-8."))?;
        api.read(text, "body").map(Self).map_err(Problem::malformed)
    }
}

/// The media type that a request declares, in lower case; empty if it declares none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.map_or("", |value| value.to_str().unwrap_or("?"));
    let name = value.split(';').next().unwrap_or_default();
    name.trim().to_ascii_lowercase()
}

/// Checks that the body is declared as JSON. The types that curl and `fetch` send by default are accepted
/// too, and so is a body without a type.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail: &'static str| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return refused("The body must not be compressed; leave out the header Content-Encoding.");
    }
    let name = media_type(headers);
    let known = [
        "application/json",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "",
    ];
    if known.contains(&name.as_str()) || name.ends_with("+json") {
        Ok(())
    } else {
        refused("The body must be JSON; send the header \"Content-Type: application/json\".")
    }
}

/// Receives the body of a call with a key. Returns the call with the complete body, and the body's bytes as
/// far as they are counted.
pub(super) async fn receive(
    request: Request,
    key: &KeyCounters,
    api: &Api,
) -> Result<(Request, HeldBytes), Problem> {
    if request.body().is_end_stream() {
        return Ok((request, HeldBytes::default()));
    }
    let (head, body) = request.into_parts();
    let (bytes, held) = take(&head.headers, body, api.limits.body_bytes, (Some(key), api)).await?;
    Ok((Request::from_parts(head, Body::from(bytes)), held))
}

/// Receives a body in time. Without a key the bytes are not counted, because the body is small, see
/// [`UNKEYED_BYTES`].
async fn take(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    (key, api): (Option<&KeyCounters>, &Api),
) -> Result<(Bytes, HeldBytes), Problem> {
    let too_large = || {
        let why = format!("The body must be at most {limit} bytes; send less in one call.");
        api.metrics.over("body_bytes", Problem::too_large(why))
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let all = async {
        let (mut bytes, mut held) = (Vec::new(), HeldBytes::default());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                let length = bytes.len() + data.len();
                if length > limit {
                    return Err(too_large());
                }
                if let Some(key) = key {
                    api.calls.hold(&mut held, key, length, &api.metrics).await?;
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok((bytes.into(), held))
    };
    tokio::time::timeout(BODY_TIMEOUT, all).await.unwrap_or_else(|_| {
        Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "The body did not arrive in time; send the call again.",
        ))
    })
}

fn broken(_: axum::Error) -> Problem {
    Problem::malformed("The request body ended before it was complete; repeat the call.")
}
