//! The errors of the API: `application/problem+json` (RFC 9457), with one sentence that says what to change.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{NotReady, Reject};

/// The media type of every error.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
/// The value of Retry-After in every answer with 429 or 503.
const RETRY_AFTER_SECONDS: &str = "1";
/// The maximum length of `detail`, which is cut because it may repeat what the caller sent.
const MAX_DETAIL_BYTES: usize = 400;

/// The document that describes an error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// Always `about:blank`: the status says what kind of error it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// One sentence that says what to change.
    detail: String,
}

/// A refused call.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    /// The value of `WWW-Authenticate`, if it is not the default.
    challenge: Option<Cow<'static, str>>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            challenge: None,
        }
    }

    /// Sets the value of `WWW-Authenticate`.
    pub(super) fn challenge(mut self, challenge: impl Into<Cow<'static, str>>) -> Self {
        self.challenge = Some(challenge.into());
        self
    }

    pub(super) fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    pub(super) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub(super) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The problem document for a status that the framework has answered by itself.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let detail = match status {
            StatusCode::NOT_FOUND => "There is nothing at this path; GET /v1/openapi.json describes the API.",
            StatusCode::METHOD_NOT_ALLOWED => "This path does not support the method; see the header Allow.",
            _ => status.canonical_reason().unwrap_or("The call was refused."),
        };
        Self::new(status, detail)
    }
}

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        let status = StatusCode::from_u16(reject.code.number()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, reject.error)
    }
}

impl From<NotReady> for Problem {
    fn from(_: NotReady) -> Self {
        // The reason is in the log.
        Self::unavailable("The server is not ready, and its log says why; try again later.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut detail = self.detail.into_owned();
        if detail.len() > MAX_DETAIL_BYTES {
            detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
            detail.push('…');
        }
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = ProblemBody {
            kind: "about:blank",
            title,
            status: self.status.as_u16(),
            detail,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        let usual = (self.status == StatusCode::UNAUTHORIZED).then_some("Bearer realm=\"mynah\"".into());
        if let Some(Ok(challenge)) = self.challenge.or(usual).map(|text| HeaderValue::from_str(&text)) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        response
    }
}
