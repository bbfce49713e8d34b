//! The queue of received packets.
//!
//! Invariant: it is bounded in packets and in bytes. What does not fit is dropped and counted: the connection
//! to Redis must be read on, because Redis closes slow readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::counts::Counters;
use crate::ids::Incarnation;

/// A packet of another node, which has the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The sender's run.
    pub from: Incarnation,
    /// What was sent.
    pub body: Bytes,
}

/// Where received packets wait for the gateway.
pub struct Inbox {
    packets: mpsc::Receiver<Received>,
    bytes: Arc<AtomicUsize>,
}

/// Where packets are put.
pub(crate) struct Delivery {
    packets: mpsc::Sender<Received>,
    bytes: Arc<AtomicUsize>,
    most_bytes: usize,
    counts: Arc<Counters>,
}

pub(crate) fn new(most_packets: usize, most_bytes: usize, counts: Arc<Counters>) -> (Delivery, Inbox) {
    let (sender, packets) = mpsc::channel(most_packets.max(1));
    let bytes = Arc::new(AtomicUsize::new(0));
    let delivery = Delivery {
        packets: sender,
        bytes: bytes.clone(),
        most_bytes,
        counts,
    };
    (delivery, Inbox { packets, bytes })
}

impl Delivery {
    /// Whether nobody receives packets any more.
    #[cfg(any(test, feature = "simulated"))]
    pub(crate) fn is_closed(&self) -> bool {
        self.packets.is_closed()
    }

    pub(crate) fn put(&self, received: Received) {
        let size = received.body.len();
        // It is counted first: the receiver may subtract it as soon as it is in the queue.
        let fits = self.bytes.fetch_add(size, Relaxed) + size <= self.most_bytes;
        if fits && self.packets.try_send(received).is_ok() {
            self.counts.received();
        } else {
            self.bytes.fetch_sub(size, Relaxed);
            self.counts.overflowed();
        }
    }
}

impl Inbox {
    /// Waits for packets and appends up to `most` of them to `packets`, in the order of their arrival.
    /// Returns their number: 0 after the bus was dropped. It may be cancelled.
    pub async fn receive(&mut self, packets: &mut Vec<Received>, most: usize) -> usize {
        let before = packets.len();
        let count = self.packets.recv_many(packets, most).await;
        let size: usize = packets[before..].iter().map(|received| received.body.len()).sum();
        self.bytes.fetch_sub(size, Relaxed);
        count
    }
}
