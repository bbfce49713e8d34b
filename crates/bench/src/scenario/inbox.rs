//! What clients get by their replays, held against what they should get.
//!
//! Each message carries its number among those of its client. A bit per message says whether it has come; at the end of a client's
//! replay, all must have.

use std::sync::Arc;

use crate::chat;
use crate::crowd::{Crowd, Load};
use crate::tally::Tally;

/// What came of the replays of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Messages that came.
    pub(crate) replayed: u64,
    /// Messages that had not come when their client's replay ended.
    pub(crate) missing: u64,
    /// Messages that came again, or that nobody has written.
    pub(crate) repeated: u64,
    /// Replays that ended although there was more.
    pub(crate) incomplete: u64,
}

impl Sum {
    /// Adds what another thread has.
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
    /// Messages that each client should get; none are noted when it is 0.
    wanted: usize,
    /// Words of bits for each client.
    words: usize,
    come: Vec<u64>,
    /// What came of it.
    pub(crate) sum: Sum,
}

impl Inbox {
    /// The kind of the messages.
    pub(crate) const KIND: u16 = 3;

    /// Inboxes for so many messages each.
    pub(crate) fn new(tally: &Arc<Tally>, clients: usize, wanted: usize) -> Self {
        let words = wanted.div_ceil(64);
        Self {
            tally: tally.clone(),
            wanted,
            words,
            come: vec![0; clients * words],
            sum: Sum::default(),
        }
    }

    fn note(&mut self, client: usize, number: Option<usize>) {
        self.sum.replayed += 1;
        match number.filter(|number| *number < self.wanted) {
            Some(number) => {
                let word = &mut self.come[client * self.words + number / 64];
                let bit = 1 << (number % 64);
                self.sum.repeated += u64::from(*word & bit != 0);
                *word |= bit;
            }
            None => self.sum.repeated += 1,
        }
    }

    fn ended(&mut self, client: usize, complete: bool) {
        let come = &self.come[client * self.words..][..self.words];
        let count: u32 = come.iter().map(|word| word.count_ones()).sum();
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
    fn what_is_missing_and_what_came_twice_is_seen() {
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
