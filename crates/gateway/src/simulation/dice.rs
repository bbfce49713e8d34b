//! The only source of randomness of a run: SplitMix64, so that a seed gives the same run on every machine.

/// A seeded random number generator.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Returns a number between `low` and `high`, both included.
    pub(super) fn range(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// Returns true with a probability of `times` percent.
    pub(super) fn percent(&mut self, times: u64) -> bool {
        self.next() % 100 < times
    }

    /// Returns one of the items, of which there must be at least one.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// Returns a number less than `length`.
    pub(super) fn index(&mut self, length: usize) -> usize {
        (self.next() % length as u64) as usize
    }

    /// Returns one of the items. Each has a weight, which comes first.
    pub(super) fn weighted<T: Copy>(&mut self, from: &[(u64, T)]) -> T {
        let mut rest = self.next() % from.iter().map(|(weight, _)| weight).sum::<u64>();
        for (weight, which) in from {
            if rest < *weight {
                return *which;
            }
            rest -= weight;
        }
        from[0].1
    }
}
