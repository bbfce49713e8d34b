//! The only place that reads a clock; everything else takes time as an argument or asks here.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::store::UnixMillis;

/// The time of day, for what people and other programs see. May step when the machine's clock is set.
pub(crate) fn unix_millis() -> UnixMillis {
    // Before 1970 only when the machine's clock is unset; everything then counts from 0.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as UnixMillis)
}

/// A clock that never steps, for durations and rates.
pub(crate) fn now() -> Instant {
    Instant::now()
}
