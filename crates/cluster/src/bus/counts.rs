//! What has become of the packets of the bus, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::target::NotSent;

/// See the module.
#[derive(Default)]
pub(crate) struct Counters {
    queued: AtomicU64,
    full: AtomicU64,
    disconnected: AtomicU64,
    published: AtomicU64,
    unheard: AtomicU64,
    lost: AtomicU64,
    writes: AtomicU64,
    received: AtomicU64,
    refused: AtomicU64,
    overflowed: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that were queued.
    pub queued: u64,
    /// Packets that were dropped because the queue was full.
    pub full: u64,
    /// Packets that were dropped because Redis was not connected.
    pub disconnected: u64,
    /// Packets that Redis has taken, once for each channel. Probes are counted too.
    pub published: u64,
    /// Of these, packets that nobody has received: the node has ended, or is not connected.
    pub unheard: u64,
    /// Packets that were written, or waited, when the connection was lost.
    pub lost: u64,
    /// Writes to Redis: each has all packets that waited.
    pub writes: u64,
    /// Packets that were received from other nodes.
    pub received: u64,
    /// Packets that were forged or repeated, or of another version.
    pub refused: u64,
    /// Received packets that were dropped because the gateway did not take them in time.
    pub overflowed: u64,
}

impl Counters {
    pub(crate) fn queued(&self, sent: Result<(), NotSent>) {
        let counter = match sent {
            Ok(()) => &self.queued,
            Err(NotSent::Full) => &self.full,
            Err(NotSent::Disconnected) => &self.disconnected,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn published(&self, packets: u64, unheard: u64) {
        self.writes.fetch_add(1, Relaxed);
        self.published.fetch_add(packets, Relaxed);
        self.unheard.fetch_add(unheard, Relaxed);
    }

    pub(crate) fn lost(&self, packets: u64) {
        self.lost.fetch_add(packets, Relaxed);
    }

    pub(crate) fn received(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    /// Returns whether it is the first one, or one of a few later ones that are worth a line in the log.
    pub(crate) fn refused(&self) -> bool {
        self.refused.fetch_add(1, Relaxed).is_multiple_of(1000)
    }

    pub(crate) fn overflowed(&self) {
        self.overflowed.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self) -> Counts {
        Counts {
            queued: self.queued.load(Relaxed),
            full: self.full.load(Relaxed),
            disconnected: self.disconnected.load(Relaxed),
            published: self.published.load(Relaxed),
            unheard: self.unheard.load(Relaxed),
            lost: self.lost.load(Relaxed),
            writes: self.writes.load(Relaxed),
            received: self.received.load(Relaxed),
            refused: self.refused.load(Relaxed),
            overflowed: self.overflowed.load(Relaxed),
        }
    }
}
