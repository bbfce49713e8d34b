//! How many calls of the API are answered at a time, and how many a key may make in a second.
//!
//! Invariants: only calls that were let in with a key count, so that nobody without one takes a place; a call gives its place back
//! when it is answered, however it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::problem::Problem;
use crate::clock;
use crate::config::Limits;
use crate::metrics::Metrics;
use crate::rate::{Bucket, Rate};

/// How long a call waits for its place.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is bounded of all calls together.
#[derive(Debug)]
pub struct Calls {
    /// One for each call that may be under way; none when they are not bounded.
    places: Option<Semaphore>,
    rate: Option<Rate>,
    /// By the name of the key.
    buckets: Mutex<HashMap<Arc<str>, Bucket>>,
}

/// A call's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    _permit: Option<SemaphorePermit<'a>>,
}

impl Calls {
    /// With the bounds of `limits`.
    pub fn new(limits: &Limits) -> Self {
        let most = limits.calls_in_flight;
        Self {
            places: (most > 0).then(|| Semaphore::new(most)),
            rate: Rate::new(limits.calls_per_second, 1, limits.calls_burst),
            buckets: Mutex::default(),
        }
    }

    /// Takes a place for a call with the key of this name.
    pub(super) async fn enter(&self, key: &Arc<str>, metrics: &Metrics) -> Result<Place<'_>, Problem> {
        if !self.within_rate(key) {
            metrics.limited("calls_per_second");
            return Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "This API key makes more calls than limits.calls_per_second allows; slow down.",
            ));
        }
        let Some(places) = &self.places else {
            return Ok(Place { _permit: None });
        };
        match tokio::time::timeout(PATIENCE, places.acquire()).await {
            Ok(Ok(permit)) => Ok(Place {
                _permit: Some(permit),
            }),
            _ => {
                metrics.limited("calls_in_flight");
                Err(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "As many calls are under way as limits.calls_in_flight allows; try again later.",
                ))
            }
        }
    }

    fn within_rate(&self, key: &Arc<str>) -> bool {
        if self.rate.is_none() {
            return true;
        }
        let mut buckets = self.buckets.lock();
        if !buckets.contains_key(key) {
            buckets.insert(key.clone(), Bucket::default());
        }
        buckets[key].take(self.rate, clock::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(change: impl FnOnce(&mut Limits)) -> (Calls, Metrics) {
        let mut limits = Limits::default();
        change(&mut limits);
        (Calls::new(&limits), Metrics::new())
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_a_moment_and_is_told() {
        let (calls, metrics) = calls(|limits| limits.calls_in_flight = 1);
        let key: Arc<str> = "backend".into();
        let first = calls.enter(&key, &metrics).await.unwrap();
        let refused = calls.enter(&key, &metrics).await.unwrap_err();
        assert!(format!("{refused:?}").contains("503"), "{refused:?}");
        let (second, ()) = tokio::join!(calls.enter(&key, &metrics), async { drop(first) });
        second.unwrap();
    }

    #[tokio::test]
    async fn each_key_has_a_rate_of_its_own() {
        let (calls, metrics) = calls(|limits| {
            limits.calls_per_second = 1;
            limits.calls_burst = 2;
        });
        for key in ["one", "two"].map(Arc::from) {
            for fine in [true, true, false] {
                let entered = calls.enter(&key, &metrics).await;
                assert_eq!(entered.is_ok(), fine, "{key}: {entered:?}");
            }
        }
        let counted = metrics.open_metrics();
        assert!(
            counted.contains("limited_total{limit=\"calls_per_second\"} 2"),
            "{counted}"
        );
    }

    #[tokio::test]
    async fn no_key_has_a_rate_by_default() {
        let (calls, metrics) = calls(|_| {});
        let key: Arc<str> = "backend".into();
        for _ in 0..10_000 {
            calls.enter(&key, &metrics).await.unwrap();
        }
    }
}
