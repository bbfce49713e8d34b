//! What a session needs of its server: settings, the clock of all deadlines, and counters.
//!
//! A session can neither find other sessions here nor open one: see [`Sessions`](crate::sessions::Sessions).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mynah_wire::engine::{CloseReason, Time, Times};
use tokio::time::Instant;

use crate::config::Config;

/// The state that all sessions of a server share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) times: Times,
    /// Whether texts are Socket.IO packets. Then characters beyond ASCII occur only inside JSON strings.
    pub(crate) json_texts: bool,
    origin: Instant,
    leaving: AtomicUsize,
    slow_readers: AtomicUsize,
}

/// Counts a connection that is being closed, until this is dropped.
pub(crate) struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leaving.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn new(config: Config, json_texts: bool) -> Self {
        let times = Times {
            ping_interval: config.ping_interval_ms,
            ping_timeout: config.ping_timeout_ms,
            upgrade_timeout: config.upgrade_timeout_ms,
        };
        Self {
            config,
            times,
            json_texts,
            origin: Instant::now(),
            leaving: AtomicUsize::new(0),
            slow_readers: AtomicUsize::new(0),
        }
    }

    /// The clock of all deadlines.
    pub(crate) fn now(&self) -> Time {
        Time(self.origin.elapsed().as_millis() as u64)
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.origin + Duration::from_millis(time.0)
    }

    /// Counts a connection that is being closed.
    pub(crate) fn leaving(self: &Arc<Self>) -> Leaving {
        self.leaving.fetch_add(1, Ordering::Relaxed);
        Leaving(self.clone())
    }

    /// Whether no connection is being closed.
    pub(crate) fn all_have_left(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) == 0
    }

    /// Counts the end of a session for this reason.
    pub(crate) fn count_close(&self, reason: CloseReason) {
        if reason == CloseReason::SlowReader {
            self.slow_readers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The number of sessions that were closed because the client read too slowly.
    pub(crate) fn slow_readers(&self) -> usize {
        self.slow_readers.load(Ordering::Relaxed)
    }
}
