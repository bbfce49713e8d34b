//! The only place in this crate that reads the time of day. Other code takes times as arguments, or calls
//! this module.
//!
//! There are two clocks. The time of day ([`unix_millis`]) is used for times that people and other programs
//! see, and for times of day that others have given, such as the expiry of a token. It can be wrong, and it
//! jumps when it is set. Waits, rate limits and measurements use the steady (monotonic) clock: [`now`] in
//! memory, [`steady_millis`] for times in numbers, and for the store.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::UnixMillis;

/// The time of day, for what people and other programs see. It jumps if the machine's clock is set.
pub(crate) fn unix_millis() -> UnixMillis {
    #[cfg(any(test, fuzzing))]
    if let Some(now) = pretended::now() {
        return now;
    }
    // The time is before 1970 only if the machine's clock was never set. It is then 0.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as UnixMillis)
}

/// The steady clock, for durations and rates. It never jumps.
pub(crate) fn now() -> Instant {
    // tokio's clock is the system's, except in tests that pause it.
    tokio::time::Instant::now().into_std()
}

/// The steady clock in milliseconds since 1970: the time of day at the start of the program plus the time
/// that has passed since. It never jumps while the program runs. The store keeps deadlines of this clock; one
/// of an earlier run of the program is wrong if the time of day was wrong at one of the two starts, so the
/// store limits it to the longest possible wait.
pub(crate) fn steady_millis() -> UnixMillis {
    #[cfg(any(test, fuzzing))]
    if let Some(now) = pretended::steady() {
        return now;
    }
    static BEGAN: LazyLock<(Instant, UnixMillis)> = LazyLock::new(|| (now(), unix_millis()));
    since(*BEGAN)
}

/// The steady clock's time. At `began` it was equal to the time of day.
fn since((began, then): (Instant, UnixMillis)) -> UnixMillis {
    then + now().saturating_duration_since(began).as_millis() as UnixMillis
}

/// A time of day that a test sets for its thread.
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) mod pretended {
    use std::cell::RefCell;
    use std::time::Instant;

    use crate::time::UnixMillis;

    type Clock = Box<dyn Fn() -> UnixMillis>;

    /// A clock, and its time when it was set.
    struct Pretended {
        clock: Clock,
        began: (Instant, UnixMillis),
    }

    thread_local! {
        static CLOCK: RefCell<Option<Pretended>> = const { RefCell::new(None) };
    }

    /// Makes `clock` the time of day of this thread. The steady clock continues from its present time by
    /// itself. With `None` both are the system's clocks again.
    pub(crate) fn set(clock: Option<Clock>) {
        let pretended = clock.map(|clock| Pretended {
            began: (super::now(), clock()),
            clock,
        });
        CLOCK.with_borrow_mut(|current| *current = pretended);
    }

    /// While this exists, the thread has the time of day of a test.
    pub(crate) struct Pretence;

    impl Drop for Pretence {
        fn drop(&mut self) {
            set(None);
        }
    }

    /// Like [`set`], until the result is dropped.
    #[must_use]
    pub(crate) fn pretend(clock: impl Fn() -> UnixMillis + 'static) -> Pretence {
        set(Some(Box::new(clock)));
        Pretence
    }

    pub(super) fn now() -> Option<UnixMillis> {
        CLOCK.with_borrow(|current| current.as_ref().map(|pretended| (pretended.clock)()))
    }

    pub(super) fn steady() -> Option<UnixMillis> {
        CLOCK.with_borrow(|current| current.as_ref().map(|pretended| super::since(pretended.began)))
    }
}
