//! Counts the pair conversations that each user has begun within the last hour. The counts are kept in memory
//! and start again after a restart.
//!
//! Invariant: what a transaction has counted is not counted if it fails.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use mynah_store::StoreError;
use mynah_store::ids::Uid;

/// The period to which the limit applies.
const WINDOW: Duration = Duration::from_secs(3_600);
/// Number of users up to which none is forgotten.
const FEW: usize = 1_024;

/// When users have begun conversations.
pub(super) struct Begun {
    /// When each user has begun its latest conversations, oldest first. No more than the limit are kept.
    users: HashMap<Uid, VecDeque<Instant>>,
    /// Users whose newest entry belongs to the open transaction.
    open: Vec<Uid>,
    /// The time of the open transaction.
    now: Instant,
    /// At this number of users, those are forgotten who have begun nothing within the window.
    sweep_at: usize,
}

impl Begun {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            users: HashMap::new(),
            open: Vec::new(),
            now,
            sweep_at: FEW,
        }
    }

    /// A transaction begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.now = now;
    }

    /// Counts one more conversation of the user, of which `most` are allowed within the period; 0 is
    /// unlimited.
    pub(super) fn count(&mut self, uid: &Uid, most: u32) -> Result<(), StoreError> {
        if most == 0 {
            return Ok(());
        }
        let now = self.now;
        let times = self.users.entry(uid.clone()).or_default();
        forget(times, now);
        if times.len() >= most as usize {
            return Err(StoreError::TooFast(format!(
                "a user may begin {most} conversations per hour; wait, or send to an existing one"
            )));
        }
        times.push_back(now);
        self.open.push(uid.clone());
        Ok(())
    }

    /// The transaction was committed.
    pub(super) fn committed(&mut self) {
        self.open.clear();
        if self.users.len() >= self.sweep_at {
            let now = self.now;
            self.users.retain(|_, times| {
                forget(times, now);
                !times.is_empty()
            });
            self.users.shrink_to_fit();
            self.sweep_at = (self.users.len() * 2).max(FEW);
        }
    }

    /// The transaction failed.
    pub(super) fn failed(&mut self) {
        for uid in self.open.drain(..) {
            if let Some(times) = self.users.get_mut(&uid) {
                times.pop_back();
            }
        }
    }
}

fn forget(times: &mut VecDeque<Instant>, now: Instant) {
    while times
        .front()
        .is_some_and(|begun| now.saturating_duration_since(*begun) >= WINDOW)
    {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: usize) -> Uid {
        Uid::new(&number.to_string()).unwrap()
    }

    #[test]
    fn the_window_slides_and_failed_transactions_do_not_count() {
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let mut begun = Begun::new(start);
        assert!(begun.count(&uid(1), 2).is_ok());
        begun.committed();
        begun.begin(at(30));
        assert!(begun.count(&uid(1), 2).is_ok() && begun.count(&uid(1), 2).is_err());
        assert!(begun.count(&uid(2), 2).is_ok(), "each user is counted separately");
        begun.failed();
        assert!(begun.count(&uid(1), 2).is_ok());
        begun.committed();
        begun.begin(at(60));
        assert!(begun.count(&uid(1), 2).is_ok() && begun.count(&uid(1), 2).is_err());
        begun.committed();
        begun.begin(at(90));
        assert!(
            begun.count(&uid(1), 2).is_ok(),
            "the one of minute 30 is no longer counted"
        );
        for _ in 0..100 {
            assert!(begun.count(&uid(3), 0).is_ok());
        }
    }

    #[test]
    fn inactive_users_are_forgotten() {
        let start = Instant::now();
        let mut begun = Begun::new(start);
        for number in 0..10 * FEW {
            begun.begin(start + Duration::from_secs(60 * number as u64));
            assert!(begun.count(&uid(number), 1).is_ok());
            begun.committed();
        }
        assert!(begun.users.len() <= FEW, "{}", begun.users.len());
    }
}
