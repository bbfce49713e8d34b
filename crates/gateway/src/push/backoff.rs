//! The time between the attempts of a failed notification.

/// Waits that double with each failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    /// The wait before the first retry.
    pub(super) initial_ms: u64,
    /// The maximum wait.
    pub(super) max_ms: u64,
}

impl Backoff {
    /// The wait in milliseconds after `failures` failed attempts (1 or more). `dice` is random and varies it
    /// by up to a quarter in both directions, so that notifications that failed together are not retried
    /// together.
    pub(super) fn wait(self, failures: u32, dice: u8) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        let wait = self.initial_ms.saturating_mul(1 << doublings).min(self.max_ms);
        let quarter = wait / 4;
        wait - quarter + quarter * 2 * u64::from(dice) / 255
    }
}

/// Returns a random byte. If there are no random numbers, there is no jitter, which is harmless.
pub(super) fn dice() -> u8 {
    let mut byte = [127];
    let _ = crate::random::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_wait_with_jitter() {
        let backoff = Backoff {
            initial_ms: 1_000,
            max_ms: 60_000,
        };
        for (failures, middle) in [
            (1, 1_000),
            (2, 2_000),
            (3, 4_000),
            (6, 32_000),
            (7, 60_000),
            (u32::MAX, 60_000),
        ] {
            assert_eq!(backoff.wait(failures, 0), middle - middle / 4);
            assert_eq!(backoff.wait(failures, 255), middle + middle / 4);
        }
    }
}
