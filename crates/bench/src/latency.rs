//! A histogram of durations with a fixed size and a relative error below 3%.

/// The number of buckets per power of two.
const STEPS: usize = 32;

/// The numbers of durations, in nanoseconds, per logarithmic bucket.
#[derive(Clone)]
pub(crate) struct Latency {
    counts: Box<[u64]>,
    total: u64,
    max: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            counts: vec![0; STEPS * 60].into_boxed_slice(),
            total: 0,
            max: 0,
        }
    }
}

impl Latency {
    /// Adds one duration.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds the durations of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The duration in milliseconds below which a `share` (0 to 1) of all durations lies; `None` if there are
    /// none.
    pub(crate) fn millis(&self, share: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        if share >= 1.0 {
            return Some(self.max as f64 / 1e6);
        }
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(upper(index).min(self.max) as f64 / 1e6)
    }
}

/// The bucket of a duration: exact below [`STEPS`], then 32 per power of two.
fn bucket(nanos: u64) -> usize {
    let power = 63 - (nanos | 1).leading_zeros() as usize;
    if power < 5 {
        return nanos as usize;
    }
    let step = (nanos >> (power - 5)) as usize & (STEPS - 1);
    ((power - 4) * STEPS + step).min(STEPS * 60 - 1)
}

/// The largest duration of a bucket.
fn upper(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let power = index / STEPS + 4;
    let step = (index % STEPS) as u64;
    ((STEPS as u64 + step + 1) << (power - 5)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_bucket_is_at_most_four_percent_too_high() {
        for nanos in (0..2_000).chain([65_535, 65_536, 1 << 40, (1 << 40) + 12_345]) {
            let upper = upper(bucket(nanos));
            assert!(upper >= nanos, "{nanos}");
            assert!(upper as f64 <= nanos as f64 * 1.04 + 1.0, "{nanos} {upper}");
        }
    }

    #[test]
    fn quantiles_of_known_durations_are_correct() {
        let mut low = Latency::default();
        let mut high = Latency::default();
        for millis in 1..=50 {
            low.record(millis * 1_000_000);
            high.record((millis + 50) * 1_000_000);
        }
        low.merge(&high);
        let near = |share, wanted: f64| (low.millis(share).expect("counted") - wanted).abs() <= wanted * 0.04;
        assert!(near(0.5, 50.0) && near(0.99, 99.0) && near(1.0, 100.0));
        assert_eq!(Latency::default().millis(0.5), None);
    }
}
