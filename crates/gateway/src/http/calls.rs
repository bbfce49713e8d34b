//! Bounds the calls of the API: how many are answered at a time, how many bytes they hold, and how many calls
//! a key may make in a second.
//!
//! Invariants: only calls with a valid key are counted, so that nobody without one can take a slot. A call
//! returns its slot when it has been answered, however it ends. It takes the slot when its body has arrived
//! and returns it before its answer is written, so that slow senders and slow readers do not delay others;
//! large bodies and answers are limited by their bytes instead. A part of the slots and of the bytes is kept
//! for keys that hold none, and waiting keys take turns: the calls of one key do not lock out another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use parking_lot::Mutex;

use super::problem::Problem;
use crate::Gateway;
use crate::caller::{Caller, UnderWay};
use crate::clock;
use crate::config::Limits;
use crate::fair::{Slot, Slots, Turn};
use crate::ids::Uid;
use crate::metrics::Metrics;
use crate::rate::{Bucket, Rate, UserBuckets};

/// How long a call waits for a slot, and for its bytes to be allowed.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// A body or an answer is not counted up to this number of bytes. Nearly all calls are smaller and never
/// wait.
const FREE_BYTES: usize = 64 * 1024;
/// The bytes of a larger body or answer are counted in steps of this size.
const STEP_BYTES: usize = 64 * 1024;

/// The bounds that all calls share.
pub struct Calls {
    /// One slot for each call that may be in progress; `None` if their number is not bounded.
    slots: Option<Arc<Slots<Arc<str>>>>,
    /// One slot for each step of bytes that may be held; `None` if the bytes are not bounded.
    bytes: Option<Arc<Slots<Arc<str>>>>,
    rate: Option<Rate>,
    /// The rates of the keys, if they hold for several nodes together.
    shared: Option<Arc<UserBuckets<1>>>,
    /// The keys that have made a call, by name.
    keys: Mutex<HashMap<Arc<str>, Arc<KeyCounters>>>,
}

/// The counters of one key.
#[derive(Debug)]
pub(super) struct KeyCounters {
    name: Arc<str>,
    bucket: Bucket,
    /// The name as the key of buckets that are shared.
    account: Option<Uid>,
    /// Its calls that have a slot or wait for one.
    calls: Caller,
    /// Its large bodies and answers.
    large: Caller,
    /// Its requests to the store.
    pub(super) appends: Caller,
}

impl KeyCounters {
    fn new(name: Arc<str>) -> Self {
        let caller = || Caller::new(name.clone());
        Self {
            bucket: Bucket::default(),
            account: Uid::new(&name).ok(),
            calls: caller(),
            large: caller(),
            appends: caller(),
            name,
        }
    }
}

/// The slot of a call; `None` if the number of calls is not bounded. It is returned when this is dropped.
pub(super) type CallSlot = Option<(Slot<Arc<str>>, UnderWay)>;

/// The bytes that a body or an answer holds.
#[derive(Debug, Default)]
pub(super) struct HeldBytes {
    slots: Option<Slot<Arc<str>>>,
    /// Whether its key had no other large body or answer when this one became large, which decides its turn.
    turn: Option<(Turn, UnderWay)>,
}

impl Calls {
    /// Creates the bounds that `limits` sets for calls of this gateway.
    pub fn new(limits: &Limits, gateway: &Gateway) -> Self {
        Self {
            shared: gateway.shared_calls(),
            ..Self::alone(limits)
        }
    }

    fn alone(limits: &Limits) -> Self {
        let most = limits.calls_in_flight;
        Self {
            slots: (most > 0).then(|| Slots::shared(most)),
            bytes: (limits.call_bytes > 0).then(|| Slots::shared(limits.call_bytes.div_ceil(STEP_BYTES))),
            rate: Rate::new(limits.calls_per_second, 1, limits.calls_burst),
            shared: None,
            keys: Mutex::default(),
        }
    }

    /// The counters of the key with this name.
    pub(super) fn key(&self, name: &Arc<str>) -> Arc<KeyCounters> {
        let mut keys = self.keys.lock();
        if let Some(key) = keys.get(name) {
            return key.clone();
        }
        let key = Arc::new(KeyCounters::new(name.clone()));
        keys.insert(name.clone(), key.clone());
        key
    }

    /// Counts a call against its key's rate.
    pub(super) fn count(&self, key: &KeyCounters, metrics: &Metrics) -> Result<(), Problem> {
        let is_within_rate = match (&self.shared, &key.account) {
            (Some(shared), Some(account)) => shared.take(account, clock::now(), [1]).is_ok(),
            _ => key.bucket.take(self.rate, clock::now()),
        };
        if is_within_rate {
            return Ok(());
        }
        let too_many = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "This API key makes more calls than limits.calls_per_second allows; slow down.",
        );
        Err(metrics.over("calls_per_second", too_many))
    }

    /// Takes a slot for a call.
    pub(super) async fn take_slot(&self, key: &KeyCounters, metrics: &Metrics) -> Result<CallSlot, Problem> {
        let Some(slots) = &self.slots else {
            return Ok(None);
        };
        let (turn, under_way) = key.calls.begin();
        let slot = tokio::time::timeout(MAX_WAIT, slots.take(key.name.clone(), turn, 1));
        let Ok(Ok(slot)) = slot.await else {
            let full = "The limit of concurrent calls (limits.calls_in_flight) is reached; try again later.";
            return Err(metrics.over("calls_in_flight", Problem::unavailable(full)));
        };
        Ok(Some((slot, under_way)))
    }

    /// Counts the bytes of a growing body or answer, which holds `bytes` from now on.
    pub(super) async fn hold(
        &self,
        held: &mut HeldBytes,
        key: &KeyCounters,
        bytes: usize,
        metrics: &Metrics,
    ) -> Result<(), Problem> {
        let Some(all) = self.bytes.as_ref().filter(|_| bytes > FREE_BYTES) else {
            return Ok(());
        };
        // A body that is larger than the whole limit is allowed if it is the only one.
        let wanted = bytes.div_ceil(STEP_BYTES).min(all.largest());
        let has = held.slots.as_ref().map_or(0, Slot::count);
        let Some(more) = wanted.checked_sub(has).filter(|more| *more > 0) else {
            return Ok(());
        };
        let (turn, _) = held.turn.get_or_insert_with(|| key.large.begin());
        let slots = all.take(key.name.clone(), *turn, more);
        let Ok(Ok(slots)) = tokio::time::timeout(MAX_WAIT, slots).await else {
            let full = "The limit for large request bodies and responses (limits.call_bytes) is reached; try again later.";
            return Err(metrics.over("call_bytes", Problem::unavailable(full)));
        };
        match &mut held.slots {
            Some(held) => held.merge(slots),
            none => *none = Some(slots),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(change: impl FnOnce(&mut Limits)) -> (Calls, Metrics) {
        let mut limits = Limits::default();
        change(&mut limits);
        (Calls::alone(&limits), Metrics::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_free_slot_waits_and_is_then_refused() {
        let (calls, metrics) = calls(|limits| limits.calls_in_flight = 1);
        let key = calls.key(&"backend".into());
        let first = calls.take_slot(&key, &metrics).await.unwrap();
        let refused = calls.take_slot(&key, &metrics).await.unwrap_err();
        assert!(format!("{refused:?}").contains("503"), "{refused:?}");
        let (second, ()) = tokio::join!(calls.take_slot(&key, &metrics), async { drop(first) });
        second.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_calls_of_one_key_do_not_lock_out_another() {
        let (calls, metrics) = calls(|limits| {
            limits.calls_in_flight = 8;
            limits.call_bytes = 8 * STEP_BYTES;
        });
        let (slow, other) = (calls.key(&"slow".into()), calls.key(&"other".into()));
        let (mut slots, mut bodies) = (Vec::new(), Vec::new());
        while let Ok(slot) = calls.take_slot(&slow, &metrics).await {
            slots.push(slot);
        }
        loop {
            let mut body = HeldBytes::default();
            let held = calls.hold(&mut body, &slow, 2 * STEP_BYTES, &metrics).await;
            if held.is_err() {
                break;
            }
            bodies.push(body);
        }
        assert_eq!((slots.len(), bodies.len()), (6, 3));
        let slot = calls.take_slot(&other, &metrics).await.unwrap();
        let mut body = HeldBytes::default();
        for steps in [1, 2] {
            let held = calls.hold(&mut body, &other, steps * STEP_BYTES, &metrics);
            held.await.unwrap();
        }
        // While both wait they take turns.
        let (slow_again, again, ()) = tokio::join!(
            calls.take_slot(&slow, &metrics),
            calls.take_slot(&other, &metrics),
            async { slots.truncate(3) }
        );
        drop((slow_again.unwrap(), again.unwrap(), slot));
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_the_limit_of_bytes_and_small_ones_do_not() {
        let (calls, metrics) = calls(|limits| limits.call_bytes = 4 * STEP_BYTES);
        let key = calls.key(&"backend".into());
        let mut first = HeldBytes::default();
        for steps in [1, 2, 3] {
            calls
                .hold(&mut first, &key, steps * STEP_BYTES, &metrics)
                .await
                .unwrap();
        }
        let mut second = HeldBytes::default();
        let refused = calls.hold(&mut second, &key, 2 * STEP_BYTES, &metrics).await;
        assert!(format!("{refused:?}").contains("503"), "{refused:?}");
        calls.hold(&mut second, &key, FREE_BYTES, &metrics).await.unwrap();
        let (held, ()) = tokio::join!(calls.hold(&mut second, &key, 100 * STEP_BYTES, &metrics), async {
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
        for name in ["one", "two"].map(Arc::from) {
            for fine in [true, true, false] {
                let counted = calls.count(&calls.key(&name), &metrics);
                assert_eq!(counted.is_ok(), fine, "{name}: {counted:?}");
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
        let key = calls.key(&"backend".into());
        for _ in 0..10_000 {
            calls.count(&key, &metrics).unwrap();
        }
    }
}
