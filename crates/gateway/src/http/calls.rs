//! How many calls of the API are answered at a time, how many bytes they hold, and how many calls a key may make in a second.
//!
//! Invariants: only calls that were let in with a key count, so that nobody without one takes a place; a call
//! gives its place back when it is answered, however it ends. A call takes its permit when its body has
//! arrived, and returns it before its answer is written, so that slow senders and slow readers do not delay
//! others; large bodies and answers are limited by their bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::problem::Problem;
use crate::clock;
use crate::config::Limits;
use crate::metrics::Metrics;
use crate::rate::{Bucket, Rate};

/// How long a call waits for a permit, and for room for its bytes.
const PATIENCE: Duration = Duration::from_secs(2);
/// This number of bytes of a body or an answer is not counted: nearly all calls are smaller, and so never
/// wait for room.
const FREE_BYTES: usize = 64 * 1024;
/// Bytes beyond that are counted in steps of this size.
const STEP_BYTES: usize = 64 * 1024;

/// What is bounded of all calls together.
#[derive(Debug)]
pub struct Calls {
    /// One for each call that may be under way; none when they are not bounded.
    places: Option<Semaphore>,
    /// One for each step of bytes that may be held, and how many there are; none when they are not bounded.
    room: Option<(Arc<Semaphore>, u32)>,
    rate: Option<Rate>,
    /// By the name of the key.
    buckets: Mutex<HashMap<Arc<str>, Bucket>>,
}

/// A call's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    _permit: Option<SemaphorePermit<'a>>,
}

/// Bytes of a body or an answer that are held.
#[derive(Debug, Default)]
pub(super) struct Held {
    permit: Option<OwnedSemaphorePermit>,
}

impl Calls {
    /// With the bounds of `limits`.
    pub fn new(limits: &Limits) -> Self {
        let most = limits.calls_in_flight;
        Self {
            places: (most > 0).then(|| Semaphore::new(most)),
            room: (limits.call_bytes > 0).then(|| {
                let steps = u32::try_from(limits.call_bytes.div_ceil(STEP_BYTES)).unwrap_or(u32::MAX);
                (Arc::new(Semaphore::new(steps as usize)), steps)
            }),
            rate: Rate::new(limits.calls_per_second, 1, limits.calls_burst),
            buckets: Mutex::default(),
        }
    }

    /// Counts a call with the key of this name.
    pub(super) fn count(&self, key: &Arc<str>, metrics: &Metrics) -> Result<(), Problem> {
        if self.within_rate(key) {
            return Ok(());
        }
        metrics.limited("calls_per_second");
        Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "This API key makes more calls than limits.calls_per_second allows; slow down.",
        ))
    }

    /// Takes a place for a call.
    pub(super) async fn enter(&self, metrics: &Metrics) -> Result<Place<'_>, Problem> {
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

    /// From now on `bytes` of a body or an answer are held, which were fewer before.
    pub(super) async fn hold(&self, held: &mut Held, bytes: usize, metrics: &Metrics) -> Result<(), Problem> {
        let Some((room, all)) = self.room.as_ref().filter(|_| bytes > FREE_BYTES) else {
            return Ok(());
        };
        // A body that is larger than the whole limit is allowed if it is the only one.
        let wanted = u32::try_from(bytes.div_ceil(STEP_BYTES)).map_or(*all, |steps| steps.min(*all));
        let has = held.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) as u32;
        let Some(more) = wanted.checked_sub(has).filter(|more| *more > 0) else {
            return Ok(());
        };
        let Ok(Ok(permit)) = tokio::time::timeout(PATIENCE, room.clone().acquire_many_owned(more)).await
        else {
            metrics.limited("call_bytes");
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The limit for large request bodies and responses (limits.call_bytes) is reached; try again later.",
            ));
        };
        match &mut held.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
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
        let first = calls.enter(&metrics).await.unwrap();
        let refused = calls.enter(&metrics).await.unwrap_err();
        assert!(format!("{refused:?}").contains("503"), "{refused:?}");
        let (second, ()) = tokio::join!(calls.enter(&metrics), async { drop(first) });
        second.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_and_answers_wait_for_room_and_small_ones_need_none() {
        let (calls, metrics) = calls(|limits| limits.call_bytes = 4 * STEP_BYTES);
        let mut first = Held::default();
        for steps in [1, 2, 3] {
            calls
                .hold(&mut first, steps * STEP_BYTES, &metrics)
                .await
                .unwrap();
        }
        let mut second = Held::default();
        let refused = calls.hold(&mut second, 2 * STEP_BYTES, &metrics).await;
        assert!(format!("{refused:?}").contains("503"), "{refused:?}");
        calls.hold(&mut second, FREE_BYTES, &metrics).await.unwrap();
        let (held, ()) = tokio::join!(calls.hold(&mut second, 100 * STEP_BYTES, &metrics), async {
            drop(first)
        });
        held.unwrap();
        let counted = metrics.open_metrics();
        assert!(
            counted.contains("limited_total{limit=\"call_bytes\"} 1"),
            "{counted}"
        );
    }

    #[test]
    fn each_key_has_a_rate_of_its_own() {
        let (calls, metrics) = calls(|limits| {
            limits.calls_per_second = 1;
            limits.calls_burst = 2;
        });
        for key in ["one", "two"].map(Arc::from) {
            for fine in [true, true, false] {
                let counted = calls.count(&key, &metrics);
                assert_eq!(counted.is_ok(), fine, "{key}: {counted:?}");
            }
        }
        let counted = metrics.open_metrics();
        assert!(
            counted.contains("limited_total{limit=\"calls_per_second\"} 2"),
            "{counted}"
        );
    }

    #[test]
    fn no_key_has_a_rate_by_default() {
        let (calls, metrics) = calls(|_| {});
        let key: Arc<str> = "backend".into();
        for _ in 0..10_000 {
            calls.count(&key, &metrics).unwrap();
        }
    }
}
