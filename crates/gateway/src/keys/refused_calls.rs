//! Decides when refused calls are logged, so that those who make them cannot fill the log.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The minimum time between two lines of the log.
const PERIOD: Duration = Duration::from_secs(60);

/// The calls that were refused since the last line.
#[derive(Debug, Default)]
pub(super) struct RefusedCalls(Mutex<RefusalCounts>);

#[derive(Debug, Default)]
struct RefusalCounts {
    told: Option<Instant>,
    since: u64,
}

impl RefusedCalls {
    /// Counts a refused call. Returns the number of refused calls since the last line if a new line is to be
    /// logged: at the first call, and at the first one after each period.
    pub(super) fn note(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        state.since += 1;
        if state
            .told
            .is_some_and(|told| now.saturating_duration_since(told) < PERIOD)
        {
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_calls_are_refused_little_is_said() {
        let (calls, start) = (RefusedCalls::default(), Instant::now());
        assert_eq!(calls.note(start), Some(1));
        for _ in 0..1_000 {
            assert_eq!(calls.note(start + PERIOD / 2), None);
        }
        assert_eq!(calls.note(start + PERIOD), Some(1_001));
        assert_eq!(calls.note(start + PERIOD), None);
    }
}
