//! Whether the bus works: whether a node hears its own probes.
//!
//! Invariant: the bus is called healthy only if a probe of this node came back through Redis within the last
//! `silence`. TCP connections and answers to commands prove nothing.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// See the module.
pub(crate) struct Health {
    silence: Duration,
    times: Mutex<Heard>,
}

struct Heard {
    /// When a probe was heard last; before the first one, when the bus was started.
    last: Instant,
    /// When the first probe was heard since which all others came in time.
    since: Option<Instant>,
}

impl Health {
    pub(crate) fn new(silence: Duration) -> Self {
        let last = Instant::now();
        let times = Mutex::new(Heard { last, since: None });
        Self { silence, times }
    }

    /// The time after which the bus is taken to be dead.
    pub(crate) fn silence(&self) -> Duration {
        self.silence
    }

    /// A probe was heard.
    pub(crate) fn heard(&self) {
        let now = Instant::now();
        let mut times = self.times.lock();
        let is_late = now.duration_since(times.last) > self.silence;
        if is_late || times.since.is_none() {
            times.since = Some(now);
        }
        times.last = now;
    }

    /// Packets may be missed until the next probe is heard.
    pub(crate) fn interrupted(&self) {
        self.times.lock().since = None;
    }

    /// Since when all probes were heard in time; `None` if they are not heard now.
    pub(crate) fn healthy_since(&self) -> Option<Instant> {
        let times = self.times.lock();
        times.since.filter(|_| times.last.elapsed() <= self.silence)
    }

    /// How long no probe was heard.
    pub(crate) fn silent_for(&self) -> Duration {
        self.times.lock().last.elapsed()
    }

    /// Whether no probe was heard for too long.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent_for() > self.silence
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn health_begins_with_a_probe_and_ends_with_silence() {
        let silence = Duration::from_secs(4);
        let health = Health::new(silence);
        assert_eq!(health.healthy_since(), None);
        health.heard();
        let since = Some(Instant::now());
        advance(Duration::from_secs(3)).await;
        health.heard();
        assert_eq!(health.healthy_since(), since);
        assert!(!health.is_silent());
        advance(Duration::from_secs(5)).await;
        assert!(health.is_silent());
        assert_eq!(health.silent_for(), Duration::from_secs(5));
        assert_eq!(health.healthy_since(), None);
        // A probe that comes late begins a new time.
        health.heard();
        assert_eq!(health.healthy_since(), Some(Instant::now()));
        health.interrupted();
        assert_eq!(health.healthy_since(), None);
        health.heard();
        assert_eq!(health.healthy_since(), Some(Instant::now()));
    }
}
