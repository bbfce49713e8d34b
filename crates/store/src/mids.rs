//! Message ids: UUIDv7 (RFC 9562, section 5.7), strictly increasing whatever the clock does.

use std::fmt;

use crate::ids::Mid;
use crate::time::UnixMillis;

/// Number of bits after the time: 12 before the variant, 62 after it.
const TAIL_BITS: u32 = 74;
const TAIL: u128 = (1 << TAIL_BITS) - 1;
const TIME_MAX: u64 = (1 << 48) - 1;

/// A generator of message ids. The time part is that of the clock, or of the last id if the clock is behind
/// it. The tail is random in each new millisecond, and grows by a random step within one.
pub struct Mids {
    time: u64,
    tail: u128,
    random: Random,
}

impl Mids {
    /// Continues after `last`, the newest id in the store.
    pub fn after(last: Option<Mid>, random: RandomBytes) -> Self {
        let (time, tail) = last.map_or((0, 0), split);
        Self {
            time,
            tail,
            random: Random {
                fill: random,
                words: Vec::new(),
            },
        }
    }

    /// Makes all later ids greater than `other`, which another generator has made.
    pub fn pass(&mut self, other: Mid) {
        (self.time, self.tail) = split(other).max((self.time, self.tail));
    }

    /// Returns an id that is greater than all earlier ones.
    pub fn next(&mut self, now: UnixMillis) -> Mid {
        let now = now.min(TIME_MAX);
        let step = self.tail + 1 + u128::from(self.random.word() as u32);
        if now > self.time {
            (self.time, self.tail) = (now, self.fresh());
        } else if step > TAIL {
            (self.time, self.tail) = (self.time + 1, self.fresh());
        } else {
            self.tail = step;
        }
        join(self.time, self.tail)
    }

    /// Returns a random tail that leaves room for greater ones.
    fn fresh(&mut self) -> u128 {
        let wide = u128::from(self.random.word()) << 64 | u128::from(self.random.word());
        wide & (TAIL >> 1)
    }
}

impl fmt::Debug for Mids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mids({})", join(self.time, self.tail))
    }
}

fn join(time: u64, tail: u128) -> Mid {
    let (high, low) = (tail >> 62, tail & ((1 << 62) - 1));
    Mid(uuid::Uuid::from_u128(
        u128::from(time) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low,
    ))
}

fn split(mid: Mid) -> (u64, u128) {
    let bits = mid.0.as_u128();
    let (high, low) = (bits >> 64 & 0xfff, bits & ((1 << 62) - 1));
    ((bits >> 80) as u64, high << 62 | low)
}

/// A function that fills a slice with random bytes.
pub type RandomBytes = fn(&mut [u8]) -> Result<(), getrandom::Error>;

/// Random numbers, of which many are fetched at a time.
struct Random {
    fill: RandomBytes,
    words: Vec<u64>,
}

impl Random {
    fn word(&mut self) -> u64 {
        if self.words.is_empty() {
            let mut bytes = [0; 2048];
            // Invariant: the kernel's source worked when the store was opened, for the epoch, and cannot fail
            // later.
            (self.fill)(&mut bytes).expect("the kernel provides random bytes");
            self.words
                .extend(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
        }
        self.words.pop().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_uuid_of_version_7_with_the_time_in_front() {
        let mid = Mids::after(None, getrandom::fill).next(1_790_000_000_123);
        assert_eq!(mid.0.get_version_num(), 7);
        assert_eq!(mid.0.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(mid.0.as_u128() >> 80, 1_790_000_000_123);
        let (time, tail) = split(mid);
        assert_eq!(join(time, tail), mid);
    }

    #[test]
    fn ids_increase_strictly_whatever_the_clock_does() {
        let mut mids = Mids::after(None, getrandom::fill);
        let mut last = mids.next(1_000_000);
        for now in [1_000_000, 1_000_000, 5, 0, u64::MAX, 3, 1_000_001, u64::MAX].repeat(200) {
            let mid = mids.next(now);
            assert!(mid > last, "{mid} after {last} at {now}");
            last = mid;
        }
        assert!(
            Mids::after(Some(last), getrandom::fill).next(7) > last,
            "across a restart"
        );
    }

    #[test]
    fn a_full_tail_borrows_the_next_millisecond() {
        let last = join(42, TAIL);
        let mid = Mids::after(Some(last), getrandom::fill).next(42);
        assert!(mid > last);
        assert_eq!(split(mid).0, 43);
    }
}
