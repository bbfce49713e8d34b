//! The only place that reads a clock; everything else takes time as an argument or asks here.
//!
//! There are two clocks. The time of day ([`unix_millis`]) is used for times that people and other programs
//! see, and for times of day that others have given, such as the expiry of a token. It can be wrong, and it
//! jumps when it is set. Waits, rate limits and measurements use the steady (monotonic) clock: [`now`] in
//! memory, [`steady_millis`] for deadlines that are stored.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::UnixMillis;

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

/// The steady clock in milliseconds since 1970: the time of day at the start of the program plus the time
/// that has passed since. It never jumps while the program runs. A deadline that an earlier run of the
/// program stored is wrong if the time of day was wrong at one of the two starts. Code that reads such a
/// deadline limits it to the longest possible wait.
pub(crate) fn steady_millis() -> UnixMillis {
    #[cfg(any(test, fuzzing))]
    if let Some(now) = pretended::steady() {
        return now;
    }
    static BEGAN: LazyLock<(Instant, UnixMillis)> = LazyLock::new(|| (now(), unix_millis()));
    since(*BEGAN)
}

/// The steady clock's time, which at `began` was equal to the time of day.
fn since((began, then): (Instant, UnixMillis)) -> UnixMillis {
    then + now().saturating_duration_since(began).as_millis() as UnixMillis
}

/// A time of day that a test makes up for its thread.
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) mod pretended {
    use std::cell::RefCell;
    use std::time::Instant;

    use crate::time::UnixMillis;

    type Clock = Box<dyn Fn() -> UnixMillis>;

    /// A clock, and when it was set to what.
    struct Pretended {
        clock: Clock,
        began: (Instant, UnixMillis),
    }

    thread_local! {
        static CLOCK: RefCell<Option<Pretended>> = const { RefCell::new(None) };
    }

    /// Sets the time of day on this thread to what `clock` says; the steady clock continues from there by
    /// itself. With `None` both are the system's again.
    pub(crate) fn set(clock: Option<Clock>) {
        let pretended = clock.map(|clock| Pretended {
            began: (super::now(), clock()),
            clock,
        });
        CLOCK.with_borrow_mut(|current| *current = pretended);
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
        CLOCK.with_borrow(|current| current.as_ref().map(|pretended| (pretended.clock)()))
    }

    pub(super) fn steady() -> Option<UnixMillis> {
        CLOCK.with_borrow(|current| current.as_ref().map(|pretended| super::since(pretended.began)))
    }
}
