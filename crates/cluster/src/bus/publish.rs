//! The queue of packets to publish, and the task that publishes them.
//!
//! Invariants: the queue is bounded in packets and in bytes. Packets are sealed by this task only, in the
//! order in which they are published, because receivers refuse counters that go down. There is one write at a
//! time; what comes meanwhile goes into the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use redis::{Pipeline, Value};
use tokio::sync::mpsc;

use super::counts::Counters;
use super::seal::{Sealer, Use};
use super::target::{Channels, NotSent, To};
use crate::failure::Trouble;
use crate::link::Link;

/// The maximum number of packets in one write.
const BATCH: usize = 512;

/// A packet that waits.
pub(super) struct Waiting {
    to: To,
    usage: Use,
    body: Bytes,
}

/// The end of the queue at which packets are put in.
#[derive(Clone)]
pub(crate) struct Queue {
    packets: mpsc::Sender<Waiting>,
    bytes: Arc<AtomicUsize>,
    most_bytes: usize,
}

/// The other end.
pub(crate) struct Out {
    packets: mpsc::Receiver<Waiting>,
    bytes: Arc<AtomicUsize>,
}

pub(crate) fn queue(most_packets: usize, most_bytes: usize) -> (Queue, Out) {
    let (sender, packets) = mpsc::channel(most_packets.max(1));
    let bytes = Arc::new(AtomicUsize::new(0));
    let queue = Queue {
        packets: sender,
        bytes: bytes.clone(),
        most_bytes,
    };
    (queue, Out { packets, bytes })
}

impl Queue {
    /// Puts in a packet, if there is room.
    pub(super) fn push(&self, to: To, usage: Use, body: Bytes) -> Result<(), NotSent> {
        let size = body.len();
        if self.bytes.fetch_add(size, Relaxed) + size > self.most_bytes {
            self.bytes.fetch_sub(size, Relaxed);
            return Err(NotSent::Full);
        }
        self.packets.try_send(Waiting { to, usage, body }).map_err(|_| {
            self.bytes.fetch_sub(size, Relaxed);
            NotSent::Full
        })
    }
}

#[cfg(any(test, feature = "simulated"))]
impl Out {
    /// Waits for a packet. Returns `None` when the bus was dropped.
    pub(crate) async fn next(&mut self) -> Option<(To, Bytes)> {
        let Waiting { to, body, .. } = self.packets.recv().await?;
        self.bytes.fetch_sub(body.len(), Relaxed);
        Some((to, body))
    }
}

/// The task that publishes.
pub(super) struct Publisher {
    pub(super) waiting: Out,
    pub(super) sealer: Sealer,
    pub(super) channels: Channels,
    pub(super) link: Arc<Link>,
    pub(super) counts: Arc<Counters>,
    /// Whether Redis has refused the last write.
    pub(super) was_refused: bool,
}

impl Publisher {
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        while self.waiting.packets.recv_many(&mut batch, BATCH).await > 0 {
            let size = batch.iter().map(|waiting| waiting.body.len()).sum();
            let commands = self.commands(batch.drain(..));
            // The batch still counts while it is written: otherwise twice the limit could be in memory.
            let answers = self.link.ask(&commands).await;
            self.waiting.bytes.fetch_sub(size, Relaxed);
            let packets = commands.len() as u64;
            match answers {
                Ok(answers) => {
                    let refused = self.refused(&answers);
                    let unheard = answers.iter().filter(|answer| **answer == Value::Int(0)).count();
                    self.counts.lost(refused);
                    self.counts.published(packets - refused, unheard as u64);
                }
                Err(_) => self.counts.lost(packets),
            }
        }
    }

    /// The number of packets that Redis has refused. The first of several refusals is logged.
    fn refused(&mut self, answers: &[Value]) -> u64 {
        let mut errors = answers.iter().filter_map(|answer| match answer {
            Value::ServerError(error) => Some(error),
            _ => None,
        });
        let first = errors.next();
        if let Some(error) = first.filter(|_| !self.was_refused) {
            tracing::warn!(
                "Redis does not publish packets: {}",
                Trouble::of(&error.clone().into())
            );
        }
        self.was_refused = first.is_some();
        first.iter().len() as u64 + errors.count() as u64
    }

    fn commands(&mut self, batch: impl Iterator<Item = Waiting>) -> Pipeline {
        let mut commands = Pipeline::new();
        for Waiting { to, usage, body } in batch {
            let packet = self.sealer.seal(usage, &body);
            let mut publish = |channel: String| {
                commands.cmd("PUBLISH").arg(channel).arg(&packet[..]);
            };
            match to {
                To::Node(node) => publish(self.channels.of(node)),
                To::Nodes(nodes) => nodes.iter().for_each(|node| publish(self.channels.of(*node))),
                To::All => publish(self.channels.all()),
            }
        }
        commands
    }
}
