//! Packets in flight between simulated nodes.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::bus::Received;
use crate::ids::Incarnation;

/// The packets in flight.
#[derive(Default)]
pub(super) struct Packets {
    /// By the time of their arrival, and a number that makes it unique.
    in_flight: BTreeMap<(Instant, u64), (Incarnation, Received)>,
    last: u64,
    /// When the last packet from one node to another arrives that must not be overtaken.
    in_order: BTreeMap<(Incarnation, Incarnation), Instant>,
}

impl Packets {
    /// Sends a packet that arrives at this time, or later if it must not overtake those before it.
    pub(super) fn send(&mut self, at: Instant, to: Incarnation, packet: Received, overtakes: bool) {
        let mut at = at;
        if !overtakes {
            let last = self.in_order.entry((packet.from, to)).or_insert(at);
            at = at.max(*last);
            *last = at;
        }
        self.last += 1;
        self.in_flight.insert((at, self.last), (to, packet));
    }

    /// When the next packet arrives.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let ((at, _), _) = self.in_flight.first_key_value()?;
        Some(*at)
    }

    /// Takes the next packet, if it has arrived, and its receiver.
    pub(super) fn take(&mut self) -> Option<(Incarnation, Received)> {
        let next = self.in_flight.first_entry()?;
        let (at, _) = *next.key();
        (at <= Instant::now()).then(|| next.remove())
    }
}
