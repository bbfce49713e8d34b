//! The clocks of the store. They can be replaced, so that tests can let one of them jump.

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mynah_store::UnixMillis;

/// Returns the time of a clock.
type Ask = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The time of day, which may be wrong and jumps when it is set, and a steady clock, which only measures
/// time.
#[derive(Clone)]
pub struct Clock {
    day: Ask,
    steady: Ask,
}

impl Clock {
    /// Combines two clocks. `steady` must start at the time of day at which the program began, and never
    /// jump.
    pub fn new(
        day: impl Fn() -> UnixMillis + Send + Sync + 'static,
        steady: impl Fn() -> UnixMillis + Send + Sync + 'static,
    ) -> Self {
        Self {
            day: Arc::new(day),
            steady: Arc::new(steady),
        }
    }

    /// Returns the clocks of the system.
    pub fn system() -> Self {
        static BEGAN: LazyLock<(Instant, UnixMillis)> = LazyLock::new(|| (Instant::now(), system_day()));
        Self::new(system_day, || {
            BEGAN.1 + u64::try_from(BEGAN.0.elapsed().as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// Returns the time of day.
    pub(super) fn day(&self) -> UnixMillis {
        (self.day)()
    }

    /// Returns the time of the steady clock.
    pub(super) fn steady(&self) -> UnixMillis {
        (self.steady)()
    }
}

fn system_day() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
