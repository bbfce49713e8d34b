//! More calls than may be: who is refused, and who does not count.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::oneshot;

use super::*;

/// A body that does not come, until it ends with its sender.
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
async fn a_call_beyond_those_under_way_is_told_to_come_again() {
    let house = crowded(|config| config.limits.calls_in_flight = 1);
    let (sender, body) = oneshot::channel();
    let hanging = Request::builder().method("POST").uri("/v1/users/online");
    let hanging = hanging.header("authorization", format!("Bearer {KEY}"));
    let hanging = tokio::spawn(
        house
            .router
            .clone()
            .oneshot(hanging.body(Body::new(Hanging(body))).unwrap()),
    );
    tokio::task::yield_now().await;

    let refused = house.call("GET", "/v1/users/alice", "").await;
    assert!(refused.problem(503).contains("limits.calls_in_flight"));
    assert_eq!(refused.header("retry-after"), "1");
    for free in ["/health/live", "/metrics", "/v1/openapi.json"] {
        assert_eq!(house.call("GET", free, "").await.status, 200, "{free}");
    }
    let without = Request::builder().uri("/v1/users/alice").body(Body::empty());
    house.send(without.unwrap()).await.problem(401);

    drop(sender);
    assert_eq!(hanging.await.unwrap().unwrap().status(), 400);
    assert_eq!(house.call("GET", "/v1/users/alice", "").await.status, 200);
}

#[tokio::test]
async fn a_key_that_calls_too_often_is_told_to_slow_down() {
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
