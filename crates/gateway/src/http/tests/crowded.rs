//! Tests the limits of calls: which calls are refused, and which are not counted.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::oneshot;

use super::*;

/// A body that does not arrive, and that ends when its sender is dropped.
struct Hanging(oneshot::Receiver<Infallible>);

impl HttpBody for Hanging {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll(cx).map(|_| None)
    }
}

fn crowded(change: impl FnOnce(&mut Config)) -> House {
    let mut config = Config::default();
    change(&mut config);
    let keys = ApiKeys::new(&[Secret::new("another-key"), Secret::new(KEY)]);
    house_of(keys, true, false, config)
}

#[tokio::test(start_paused = true)]
async fn a_call_beyond_the_limit_of_concurrent_calls_is_answered_503() {
    let house = crowded(|config| config.limits.calls_in_flight = 1);
    let key = house.api.calls.key(&"any".into());
    let slot = house.api.calls.take_slot(&key, &house.api.metrics).await.unwrap();

    let refused = house.call("GET", "/v1/users/alice", "").await;
    assert!(refused.problem(503).contains("limits.calls_in_flight"));
    assert_eq!(refused.header("retry-after"), "1");
    for free in ["/health/live", "/metrics", "/v1/openapi.json"] {
        assert_eq!(house.call("GET", free, "").await.status, 200, "{free}");
    }
    let without = Request::builder().uri("/v1/users/alice").body(Body::empty());
    house.send(without.unwrap()).await.problem(401);

    drop(slot);
    assert_eq!(house.call("GET", "/v1/users/alice", "").await.status, 200);
}

/// Calls whose bodies do not arrive do not delay others, and end after a timeout.
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_takes_no_slot() {
    let house = crowded(|config| config.limits.calls_in_flight = 1);
    let (_sender, body) = oneshot::channel();
    let hanging = Request::builder().method("POST").uri("/v1/users/online");
    let hanging = hanging.header("authorization", format!("Bearer {KEY}"));
    let hanging = tokio::spawn(
        house
            .router
            .clone()
            .oneshot(hanging.body(Body::new(Hanging(body))).unwrap()),
    );
    tokio::task::yield_now().await;
    assert_eq!(house.call("GET", "/v1/users/alice", "").await.status, 200);
    let asked = json!({"uids": ["alice"]});
    house.done("POST", "/v1/users/online", asked).await;
    assert_eq!(hanging.await.unwrap().unwrap().status(), 408);
}

/// Answers that nobody reads are bounded in bytes. Small answers are sent meanwhile.
#[tokio::test(start_paused = true)]
async fn the_bytes_of_unread_answers_are_bounded() {
    let house = crowded(|config| config.limits.call_bytes = 128 << 10);
    for _ in 0..2 {
        let data = json!({"text": "x".repeat(60_000)});
        let message = json!({"type": 6, "to": {"user": "alice"}, "data": data, "push": false});
        house.done("POST", "/v1/messages", message).await;
    }
    let conversations = house.call("GET", "/v1/users/alice/conversations", "").await.body;
    let conv = conversations["conversations"][0]["conv"].as_str().unwrap();
    let path = format!("/v1/conversations/{conv}/messages");
    let large = || {
        let request = Request::builder().uri(&path);
        let request = request.header("authorization", format!("Bearer {KEY}"));
        house.router.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    let unread = large().await.unwrap();
    assert_eq!(unread.status(), 200);
    let refused = house.call("GET", &path, "").await;
    assert!(refused.problem(503).contains("limits.call_bytes"));
    assert_eq!(house.call("GET", "/v1/users/alice", "").await.status, 200);
    let body = unread.into_body().collect().await.unwrap().to_bytes();
    assert!(body.len() > 120_000);
    assert_eq!(house.call("GET", &path, "").await.status, 200);
}

#[tokio::test]
async fn a_key_that_calls_too_often_is_answered_429() {
    let house = crowded(|config| {
        config.limits.calls_per_second = 1;
        config.limits.calls_burst = 2;
    });
    for _ in 0..2 {
        assert_eq!(house.call("GET", "/v1/users/alice", "").await.status, 200);
    }
    let refused = house.call("GET", "/v1/users/alice", "").await;
    assert!(refused.problem(429).contains("limits.calls_per_second"));
    assert_eq!(refused.header("retry-after"), "1");
    let other = house.call_as("another-key", "GET", "/v1/users/alice", "").await;
    assert_eq!(other.status, 200);
}
