//! Taking a call's body, bounded in bytes and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::Api;
use super::fields;
use super::problem::Problem;

/// A body must have come within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// A body that may come without a key: it is kept in memory for whoever sends it.
const UNKEYED_BYTES: usize = 64 << 10;
/// Of a body that is too large so much is read and thrown away, so that a client which writes before it reads gets the
/// answer; a larger one is cut off.
const MOST_THROWN_AWAY: usize = 128 << 20;

/// A JSON object, read as `T`.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let keyed = request.uri().path().starts_with("/v1/");
        let limit = if keyed {
            api.limits.body_bytes
        } else {
            api.limits.body_bytes.min(UNKEYED_BYTES)
        };
        let bytes = take(request, limit).await.inspect_err(|problem| {
            if problem.is_too_large() {
                api.metrics.limited("body_bytes");
            }
        })?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| Problem::malformed("The body must be JSON in UTF-8."))?;
        fields::read(text).map(Self).map_err(Problem::malformed)
    }
}

/// JSON is expected. curl and fetch call a JSON text other names when they are not told; a missing name is fine too.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail: &'static str| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return refused("The body must not be compressed; leave out the header Content-Encoding.");
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let name = value
        .to_str()
        .unwrap_or("?")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
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

async fn take(request: Request, limit: usize) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, take_all(request, limit)).await {
        Ok(taken) => taken,
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "The body did not come in time; send the call again.",
        )),
    }
}

async fn take_all(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let (head, mut body) = request.into_parts();
    let announced = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        // Who asks first (Expect: 100-continue) has not sent anything yet.
        if !head.headers.contains_key(header::EXPECT) {
            throw_away(body, 0).await;
        }
        return Err(too_large(limit));
    }
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::malformed("The body broke off; send the call again."))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                let so_far = bytes.len();
                drop(bytes);
                throw_away(body, so_far).await;
                return Err(too_large(limit));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.into())
}

fn too_large(limit: usize) -> Problem {
    Problem::too_large(format!(
        "The body must be at most {limit} bytes; send less in one call."
    ))
}

async fn throw_away(mut body: Body, mut so_far: usize) {
    while let Some(Ok(frame)) = body.frame().await {
        so_far += frame.into_data().map_or(0, |data| data.len());
        if so_far > MOST_THROWN_AWAY {
            return;
        }
    }
}
