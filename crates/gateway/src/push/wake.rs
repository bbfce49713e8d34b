//! Lets the worker sleep, and wakes it for a job that is due earlier.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::now;
use crate::time::UnixMillis;

/// The longest sleep while there are jobs that the worker has not seen.
const UNSEEN: Duration = Duration::from_millis(100);

/// Wakes the worker.
#[derive(Default)]
pub(crate) struct Wake {
    notify: Notify,
    /// When the worker wakes up by itself.
    at: AtomicU64,
    /// The number of jobs that were created.
    made: AtomicU64,
}

impl Wake {
    /// Notes that a job was created that is due after this many milliseconds. The worker is not woken if it
    /// wakes up early enough by itself.
    pub(crate) fn due_in(&self, delay_ms: u64) {
        self.made.fetch_add(1, Ordering::SeqCst);
        let at = now().saturating_add(delay_ms);
        if at < self.at.fetch_min(at, Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }

    /// The number of jobs that were created so far. All of them are in the store.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// Sleeps for `wait`, or until it is woken. The sleep is short if jobs were created after the first
    /// `seen`.
    pub(super) async fn sleep(&self, wait: Duration, seen: u64) {
        self.at.store(
            now().saturating_add(wait.as_millis() as UnixMillis),
            Ordering::SeqCst,
        );
        // A job that was created a moment ago may have relied on an earlier wake-up.
        let wait = if self.made() == seen {
            wait
        } else {
            wait.min(UNSEEN)
        };
        tokio::select! {
            biased;
            () = self.notify.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn is_woken_for_what_is_due_earlier_only() {
        let wake = Wake::default();
        let began = tokio::time::Instant::now();
        let late = async {
            tokio::task::yield_now().await;
            wake.due_in(120_000);
        };
        tokio::join!(wake.sleep(Duration::from_secs(60), 0), late);
        assert_eq!(began.elapsed(), Duration::from_secs(60), "it is up by then");
        let early = async {
            tokio::task::yield_now().await;
            wake.due_in(1_000);
        };
        tokio::join!(wake.sleep(Duration::from_secs(60), 1), early);
        assert_eq!(
            began.elapsed(),
            Duration::from_secs(60),
            "woken at once, to look when it is due"
        );
        wake.sleep(Duration::from_secs(60), 1).await;
        assert_eq!(
            began.elapsed(),
            Duration::from_secs(60) + UNSEEN,
            "one was made that was not seen"
        );
    }
}
