//! The counters that all threads of a run share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The counters of a run. The clients' threads add to them, and the measuring thread reads them.
#[derive(Default)]
pub(crate) struct Tally {
    /// The number of registered clients.
    pub(crate) ready: AtomicUsize,
    /// The number of clients whose thread counts what they receive.
    pub(crate) listening: AtomicUsize,
    /// Messages sent.
    pub(crate) sent: AtomicU64,
    /// Messages that reached a client.
    pub(crate) delivered: AtomicU64,
    /// The number of requests that were answered with success.
    pub(crate) answered: AtomicU64,
    /// The number of requests that were refused.
    pub(crate) refused: AtomicU64,
    /// Whether durations are recorded, which is only the case during the measured time.
    pub(crate) measuring: AtomicBool,
    /// The number of clients that had stopped reading and were closed by the server.
    pub(crate) dropped: AtomicUsize,
    /// Whether connections may end without being counted as lost.
    pub(crate) leaving: AtomicBool,
    /// Ends the run.
    pub(crate) stop: AtomicBool,
    /// Wakes the sending thread, if one thread sends for all.
    pub(crate) sender: OnceLock<mio::Waker>,
    losses: AtomicUsize,
    first_loss: Mutex<Option<String>>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Messages sent.
    pub(crate) sent: u64,
    /// Messages that reached a client.
    pub(crate) delivered: u64,
    /// Requests answered with success.
    pub(crate) answered: u64,
    /// Requests refused.
    pub(crate) refused: u64,
}

impl Tally {
    /// The counters now.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            sent: self.sent.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
            answered: self.answered.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Adds one to a counter.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether durations are recorded now.
    pub(crate) fn measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }

    /// Records that a connection was lost.
    pub(crate) fn lose(&self, reason: &str) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first_loss.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| reason.to_owned());
    }

    /// The number of lost connections.
    pub(crate) fn losses(&self) -> usize {
        self.losses.load(Ordering::Relaxed)
    }

    /// The reason why the first connection was lost, if any was.
    pub(crate) fn lost(&self) -> Option<String> {
        if self.losses() == 0 {
            return None;
        }
        self.first_loss
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Counts {
    /// The counts since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            delivered: self.delivered - earlier.delivered,
            answered: self.answered - earlier.answered,
            refused: self.refused - earlier.refused,
        }
    }
}
