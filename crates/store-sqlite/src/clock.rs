//! The clocks that the store uses; replaceable, so that tests can make one of them jump.

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mynah_store::UnixMillis;

/// Asks a clock for its time.
type Ask = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// A time of day, which may be wrong and jumps when it is set, and a steady clock, which only measures.
#[derive(Clone)]
pub struct Clock {
    day: Ask,
    steady: Ask,
}

impl Clock {
    /// These two clocks. `steady` counts from the time of day at which the program began and never jumps.
    pub fn new(
        day: impl Fn() -> UnixMillis + Send + Sync + 'static,
        steady: impl Fn() -> UnixMillis + Send + Sync + 'static,
    ) -> Self {
        Self {
            day: Arc::new(day),
            steady: Arc::new(steady),
        }
    }

    /// The system's clocks.
    pub fn system() -> Self {
        static BEGAN: LazyLock<(Instant, UnixMillis)> = LazyLock::new(|| (Instant::now(), system_day()));
        Self::new(system_day, || {
            BEGAN.1 + u64::try_from(BEGAN.0.elapsed().as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// The time of day.
    pub(super) fn day(&self) -> UnixMillis {
        (self.day)()
    }

    /// The steady clock's time.
    pub(super) fn steady(&self) -> UnixMillis {
        (self.steady)()
    }
}

fn system_day() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
