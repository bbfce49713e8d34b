//! Which recipients of a message were reached, one bit for each.

use super::bytes::{Malformed, Reader, Writer};

/// See the module. The recipients are numbered from 0, in the order in which the message names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached(Vec<u64>);

impl Reached {
    /// Those for whom it is true.
    pub fn of(all: impl IntoIterator<Item = bool>) -> Self {
        let mut reached = Self::default();
        for (number, _) in all.into_iter().enumerate().filter(|(_, is)| *is) {
            reached.set(number);
        }
        reached
    }

    /// Adds a recipient.
    pub fn set(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    /// Whether this recipient was reached.
    pub fn has(&self, number: usize) -> bool {
        self.0
            .get(number / 64)
            .is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Adds those whom others have reached.
    pub fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// Adds those whom others have reached of the recipients from number `first` on.
    pub fn add_at(&mut self, first: usize, other: &Self) {
        let numbers = (0..other.0.len() * 64).filter(|number| other.has(*number));
        numbers.for_each(|number| self.set(first + number));
    }

    /// The number of recipients who were reached.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.length(self.0.len());
        self.0.iter().for_each(|word| to.u64(*word));
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self(from.list(Reader::u64)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recipient_counts_once() {
        let mut all = Reached::of([true, false, true]);
        let mut others = Reached::of([true, true]);
        others.set(130);
        all.add(&others);
        assert_eq!(all.count(), 4);
        let mut moved = Reached::default();
        moved.add_at(1_000, &others);
        assert_eq!(
            [1_000, 1_001, 1_130, 1_002].map(|number| moved.has(number)),
            [true, true, true, false]
        );
        assert_eq!(
            [0, 1, 2, 3, 63, 130, 131, 1_000].map(|number| all.has(number)),
            [true, true, true, false, false, true, false, false]
        );
    }
}
