//! Decides when a connection's cached pages are freed: a minute after a burst of work.
//!
//! SQLite keeps the pages that a connection has read or written, up to its `cache_size`, for as long as the
//! connection is open. After a burst of messages these are up to 24 MiB for all connections together.
//! Invariant: pages are freed only once after a use, so that an idle store sleeps.

use std::time::{Duration, Instant};

/// Time between two checks of how much was done.
pub(super) const PERIOD: Duration = if cfg!(test) {
    Duration::from_millis(400)
} else {
    Duration::from_secs(60)
};
/// Number of uses in a period (50 per second) from which the pages are kept. After fewer uses, reading the
/// pages again costs less than keeping them.
const MUCH: usize = 3_000;

/// The timer of one connection.
#[derive(Default)]
pub(super) struct Trim {
    /// The end of the period; `None` if the connection was not used since its pages were last freed.
    end: Option<Instant>,
    /// The number of uses in this period.
    uses: usize,
}

impl Trim {
    /// Records that the connection was used this many times, and may have cached pages.
    pub(super) fn used(&mut self, times: usize) {
        self.uses += times;
        if self.end.is_none() {
            self.end = Some(Instant::now() + PERIOD);
        }
    }

    /// Returns the time until [`Trim::is_due`] must be called again; `None` until the next use.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Returns whether the pages must be freed now: a period has ended in which the connection was not used
    /// much.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        if self.end.is_none_or(|end| now < end) {
            return false;
        }
        let much = std::mem::take(&mut self.uses) >= MUCH;
        self.end = much.then_some(now + PERIOD);
        !much
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(trim: &mut Trim) -> bool {
        std::thread::sleep(trim.wait().unwrap());
        trim.is_due()
    }

    #[test]
    fn is_due_once_after_a_use_and_then_sleeps() {
        let mut trim = Trim::default();
        for _ in 0..2 {
            assert_eq!((trim.wait(), trim.is_due()), (None, false));
            trim.used(1);
            assert!(trim.wait().is_some_and(|wait| wait <= PERIOD));
            assert!(wait(&mut trim));
        }
        assert_eq!(trim.wait(), None);
    }

    #[test]
    fn is_not_due_during_heavy_use() {
        let mut trim = Trim::default();
        for _ in 0..2 {
            trim.used(MUCH / 2);
            trim.used(MUCH / 2);
            assert!(!wait(&mut trim));
        }
        trim.used(MUCH - 1);
        assert!(wait(&mut trim), "a little is done all the time");
    }
}
