//! The check of every response of the API.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Uri, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::testing::value;

/// The API key with which calls are made.
pub(super) const KEY: &str = "a-key";

/// Parses a call written as `METHOD path body`. Returns `None` if it is not a valid request.
pub(super) fn call(text: &str) -> Option<Request<Body>> {
    let (method, rest) = text.split_once(' ')?;
    let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).ok()?)
        .uri(
            Uri::try_from(path)
                .ok()
                .filter(|uri| uri.path().starts_with('/'))?,
        )
        .header(header::AUTHORIZATION, format!("Bearer {KEY}"));
    request.body(Body::from(body.to_owned())).ok()
}

/// Makes a call and checks the response. Returns the status and the body, which is `null` unless it is JSON.
pub(super) async fn make(router: Router, request: Request<Body>) -> (StatusCode, Value) {
    let about = format!("{} {}", request.method(), request.uri());
    let is_head = request.method() == Method::HEAD;
    let Ok(response) = router.oneshot(request).await;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.expect("the body is there").to_bytes();
    let status = head.status;
    let kind = head
        .headers
        .get(header::CONTENT_TYPE)
        .map_or("", |kind| kind.to_str().unwrap_or("?"));
    let is_error = status.is_client_error() || status.is_server_error();
    assert!(status.is_success() || is_error, "{about}: {status}");
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{about}");
    if is_head {
        // The body of the response to HEAD is dropped when it is written, not here.
        return (status, Value::Null);
    }
    assert_eq!(is_error, kind == "application/problem+json", "{about}: {kind}");
    if !kind.contains("json") {
        return (status, Value::Null);
    }
    let answer = value(std::str::from_utf8(&bytes).expect("JSON is UTF-8"));
    if is_error {
        assert_eq!(answer["status"], status.as_u16(), "{about}: {answer}");
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(detail.ends_with(['.', '…']), "{about}: {answer}");
    }
    (status, answer)
}
