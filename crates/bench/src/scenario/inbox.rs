//! Compares the messages that clients receive in their replays with those that they should receive.
//!
//! Each message carries its number among the messages of its client. A bit per message records whether it has
//! arrived; at the end of a client's replay, all bits must be set.

use std::sync::Arc;

use crate::chat;
use crate::crowd::{Crowd, Load};
use crate::tally::Tally;

/// The results of a thread's replays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Messages that arrived.
    pub(crate) replayed: u64,
    /// Messages that had not arrived when their client's replay ended.
    pub(crate) missing: u64,
    /// Messages that arrived again, or that nobody has sent.
    pub(crate) repeated: u64,
    /// Replays that ended although there were more messages.
    pub(crate) incomplete: u64,
}

impl Sum {
    /// Adds the results of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        self.replayed += other.replayed;
        self.missing += other.missing;
        self.repeated += other.repeated;
        self.incomplete += other.incomplete;
    }
}

/// The inboxes of a thread's clients.
pub(crate) struct Inbox {
    tally: Arc<Tally>,
    /// The number of messages that each client should receive. If it is 0, none are recorded.
    wanted: usize,
    /// The number of words with bits for each client.
    words: usize,
    arrived: Vec<u64>,
    /// The results.
    pub(crate) sum: Sum,
}

impl Inbox {
    /// The kind of the messages.
    pub(crate) const KIND: u16 = 3;

    /// Inboxes for `wanted` messages of each client.
    pub(crate) fn new(tally: &Arc<Tally>, clients: usize, wanted: usize) -> Self {
        let words = wanted.div_ceil(64);
        Self {
            tally: tally.clone(),
            wanted,
            words,
            arrived: vec![0; clients * words],
            sum: Sum::default(),
        }
    }

    fn note(&mut self, client: usize, number: Option<usize>) {
        self.sum.replayed += 1;
        match number.filter(|number| *number < self.wanted) {
            Some(number) => {
                let word = &mut self.arrived[client * self.words + number / 64];
                let bit = 1 << (number % 64);
                self.sum.repeated += u64::from(*word & bit != 0);
                *word |= bit;
            }
            None => self.sum.repeated += 1,
        }
    }

    fn ended(&mut self, client: usize, complete: bool) {
        let arrived = &self.arrived[client * self.words..][..self.words];
        let count: u32 = arrived.iter().map(|word| word.count_ones()).sum();
        self.sum.missing += self.wanted as u64 - u64::from(count);
        self.sum.incomplete += u64::from(!complete);
    }
}

impl Load for Inbox {
    fn event(&mut self, _crowd: &mut Crowd<'_>, to: usize, packet: &[u8]) {
        match chat::kind(packet) {
            Some(Self::KIND) => {
                Tally::count(&self.tally.delivered);
                self.note(to, chat::number(packet, "n").map(|number| number as usize));
            }
            Some(chat::RESUMED) => self.ended(to, chat::complete(packet)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_repeated_messages_are_counted() {
        let mut inbox = Inbox::new(&Arc::default(), 2, 70);
        (0..70).for_each(|number| inbox.note(0, Some(number)));
        inbox.ended(0, true);
        assert_eq!((inbox.sum.missing, inbox.sum.repeated), (0, 0));
        (1..69).for_each(|number| inbox.note(1, Some(number)));
        for odd in [Some(64), Some(70), None] {
            inbox.note(1, odd);
        }
        inbox.ended(1, false);
        let wanted = Sum {
            replayed: 70 + 68 + 3,
            missing: 2,
            repeated: 3,
            incomplete: 1,
        };
        assert_eq!(inbox.sum, wanted);
    }
}
