//! The rate of frames of one connection.

use std::time::Instant;

/// A token bucket; `now` is an argument.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// What a bucket holds and how fast it fills; 0 of either is no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.burst as f64,
            filled: now,
        }
    }

    /// Takes a token; false when there is none.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        if rate.per_second == 0 || rate.burst == 0 {
            return true;
        }
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * rate.per_second as f64).min(rate.burst as f64);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn taken(bucket: &mut Bucket, rate: Rate, now: Instant, tries: u32) -> usize {
        (0..tries).filter(|_| bucket.take(rate, now)).count()
    }

    #[test]
    fn allows_the_burst_then_the_rate() {
        let rate = Rate {
            per_second: 10,
            burst: 20,
        };
        let start = crate::clock::now();
        let mut bucket = Bucket::new(rate, start);
        assert_eq!(taken(&mut bucket, rate, start, 100), 20);
        assert_eq!(
            taken(&mut bucket, rate, start + Duration::from_millis(550), 100),
            5
        );
        assert_eq!(
            taken(&mut bucket, rate, start + Duration::from_secs(3600), 100),
            20
        );
    }

    #[test]
    fn zero_is_no_limit() {
        let rate = Rate {
            per_second: 0,
            burst: 1,
        };
        let start = crate::clock::now();
        assert_eq!(taken(&mut Bucket::new(rate, start), rate, start, 1_000), 1_000);
    }
}
