//! The only place that reads a clock; everything else takes time as an argument or asks here.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::store::UnixMillis;

/// The time of day, for what people and other programs see. May step when the machine's clock is set.
pub(crate) fn unix_millis() -> UnixMillis {
    #[cfg(any(test, fuzzing))]
    if let Some(now) = pretended::now() {
        return now;
    }
    // Before 1970 only when the machine's clock is unset; everything then counts from 0.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as UnixMillis)
}

/// A clock that never steps, for durations and rates.
pub(crate) fn now() -> Instant {
    // The system's, but in tests that pause tokio's.
    tokio::time::Instant::now().into_std()
}

/// A time of day that a test makes up for its thread.
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) mod pretended {
    use std::cell::RefCell;

    use crate::store::UnixMillis;

    type Clock = Box<dyn Fn() -> UnixMillis>;

    thread_local! {
        static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
    }

    /// The time of day on this thread is what `clock` says; the system's again with `None`.
    pub(crate) fn set(clock: Option<Clock>) {
        CLOCK.with_borrow_mut(|current| *current = clock);
    }

    /// Has the thread's time of day pretended until it is dropped.
    pub(crate) struct Pretence;

    impl Drop for Pretence {
        fn drop(&mut self) {
            set(None);
        }
    }

    /// [`set`] for as long as the answer lives.
    #[must_use]
    pub(crate) fn pretend(clock: impl Fn() -> UnixMillis + 'static) -> Pretence {
        set(Some(Box::new(clock)));
        Pretence
    }

    pub(super) fn now() -> Option<UnixMillis> {
        CLOCK.with_borrow(|clock| clock.as_ref().map(|clock| clock()))
    }
}
