//! Rate limits: token buckets, implemented as the generic cell rate algorithm (ITU-T I.371). A bucket is one
//! number, the time at which it is full again.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hashbrown::HashTable;

use crate::config::Limits;
use crate::ids::Uid;
use crate::sync::{Hashing, Mutex};

/// The size of a bucket, and how fast it fills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Nanoseconds until one more token is added.
    interval: u64,
    /// Nanoseconds until an empty bucket is full.
    room: u64,
}

impl Rate {
    /// Creates a rate of `count` tokens in `seconds`, with at most `burst` tokens. Returns `None`, which is
    /// unlimited, if either number is 0.
    pub(crate) fn new(count: u32, seconds: u32, burst: u32) -> Option<Self> {
        let interval = (u64::from(seconds) * 1_000_000_000)
            .checked_div(count.into())?
            .max(1);
        (burst > 0).then(|| Self {
            interval,
            room: interval * u64::from(burst),
        })
    }

    /// The number of tokens in half a second of which other nodes need not know.
    fn little(self) -> u64 {
        (HALF_A_SECOND / self.interval / LITTLE_PART).max(1)
    }
}

/// In nanoseconds.
const HALF_A_SECOND: u64 = 500_000_000;
/// This part of a rate is little.
const LITTLE_PART: u64 = 8;
/// The maximum number of users whose tokens are counted for other nodes at one time.
const MOST_SPENDERS: usize = 65_536;

/// The configured rates of registers and messages. Each has the name of its keys in `limits`.
pub(crate) struct Rates {
    /// Registers of a connection.
    pub(crate) registers: Option<Rate>,
    /// Registers of a user.
    pub(crate) user_registers: UserBuckets<1>,
    /// Messages that a user sends, and bytes of them.
    pub(crate) user_sends: UserBuckets<2>,
    /// Calls with an API key, by its name, if their rate holds for several nodes together.
    pub(crate) calls: UserBuckets<1>,
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        let user_registers = (limits.user_registers_per_minute, limits.user_registers_burst);
        let user_messages = (limits.user_messages_per_second, limits.user_messages_burst);
        let user_bytes = (limits.user_bytes_per_minute, limits.user_bytes_burst);
        Self {
            registers: Rate::new(limits.registers_per_minute, 60, limits.registers_burst),
            calls: UserBuckets::new([Rate::new(limits.calls_per_second, 1, limits.calls_burst)]),
            user_registers: UserBuckets::new([Rate::new(user_registers.0, 60, user_registers.1)]),
            user_sends: UserBuckets::new([
                Rate::new(user_messages.0, 1, user_messages.1),
                Rate::new(user_bytes.0, 60, user_bytes.1),
            ]),
        }
    }
}

/// A token bucket, which is full at first.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    full_at: AtomicU64,
}

impl Bucket {
    /// Takes a token. Returns false if there is none.
    pub(crate) fn take(&self, rate: Option<Rate>, now: Instant) -> bool {
        rate.is_none_or(|rate| self.take_some(rate, nanoseconds(now), 1))
    }

    /// Takes `tokens` tokens at the time `now`, in [`nanoseconds`]. Takes none and returns false if there are
    /// fewer.
    fn take_some(&self, rate: Rate, now: u64, tokens: u64) -> bool {
        let taken = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let full_at = full_at
                    .max(now)
                    .saturating_add(rate.interval.saturating_mul(tokens));
                (full_at - now <= rate.room).then_some(full_at)
            });
        taken.is_ok()
    }

    /// Takes tokens that were used up elsewhere, even if there are none. It is bounded how long the bucket
    /// then remains empty.
    fn subtract(&self, rate: Rate, now: u64, tokens: u64) {
        let lowest = now.saturating_add(rate.room).saturating_add(2 * HALF_A_SECOND);
        let spent = rate.interval.saturating_mul(tokens);
        // The closure always returns a value.
        let _ = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(full_at.max(now).saturating_add(spent).min(lowest.max(full_at)))
            });
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at.load(Ordering::Relaxed) <= nanoseconds(now)
    }
}

/// Returns the nanoseconds since a fixed time of this process.
fn nanoseconds(now: Instant) -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(crate::clock::now);
    now.saturating_duration_since(*ORIGIN).as_nanos() as u64
}

/// Buckets for each user. Users whose buckets are full are forgotten, so that memory depends on activity and
/// not on the number of users.
pub(crate) struct UserBuckets<const N: usize> {
    rates: [Option<Rate>; N],
    shards: Box<[Mutex<Shard<N>>]>,
    hasher: Hashing,
    /// What users have taken since it was last told to other nodes; `None` if there are none.
    spent: Option<Mutex<HashMap<Uid, [u64; N]>>>,
}

/// The buckets by a keyed hash of the uid, with which two users practically never share a bucket.
struct Shard<const N: usize> {
    buckets: HashTable<(u64, [Bucket; N])>,
    /// Number of users at which those with full buckets are forgotten.
    sweep_at: usize,
}

impl<const N: usize> UserBuckets<N> {
    const SHARDS: usize = 64;
    /// Smallest number of users at which a shard is swept.
    const FEW: usize = 64;

    pub(crate) fn new(rates: [Option<Rate>; N]) -> Self {
        let shard = || {
            Mutex::new(Shard {
                buckets: HashTable::new(),
                sweep_at: 0,
            })
        };
        Self {
            rates,
            shards: (0..Self::SHARDS).map(|_| shard()).collect(),
            hasher: Hashing::default(),
            spent: None,
        }
    }

    /// Counts for other nodes what users take.
    #[must_use]
    pub(crate) fn shared(mut self, is_shared: bool) -> Self {
        self.spent = is_shared.then(Mutex::default);
        self
    }

    /// Returns the users who have taken more than a little since the last call, and what they have taken.
    pub(crate) fn take_spent(&self) -> Vec<(Uid, [u64; N])> {
        let Some(spent) = &self.spent else {
            return Vec::new();
        };
        let spent = std::mem::take(&mut *spent.lock());
        let is_much = |(_, tokens): &(Uid, [u64; N])| {
            let mut both = self.rates.iter().zip(tokens);
            both.any(|(rate, tokens)| rate.is_some_and(|rate| *tokens > rate.little()))
        };
        spent.into_iter().filter(is_much).collect()
    }

    /// Takes what a user has taken on another node.
    pub(crate) fn subtract(&self, uid: &Uid, now: Instant, tokens: [u64; N]) {
        let at = nanoseconds(now);
        self.with_buckets(uid, now, |own| {
            for ((rate, bucket), tokens) in self.rates.iter().zip(own).zip(tokens) {
                if let Some(rate) = rate {
                    bucket.subtract(*rate, at, tokens);
                }
            }
        });
    }

    fn count(&self, uid: &Uid, tokens: [u64; N]) {
        let Some(spent) = &self.spent else { return };
        let mut spent = spent.lock();
        if let Some(counted) = spent.get_mut(uid) {
            for (counted, tokens) in counted.iter_mut().zip(tokens) {
                *counted = counted.saturating_add(tokens);
            }
        } else if spent.len() < MOST_SPENDERS {
            spent.insert(uid.clone(), tokens);
        }
    }

    /// Calls `f` with the user's buckets.
    fn with_buckets<T>(&self, uid: &Uid, now: Instant, f: impl FnOnce(&[Bucket; N]) -> T) -> T {
        let hash = self.hasher.hash_one(uid);
        // hashbrown uses the low bits for the bucket and the top 7 for the tag; the shard must use others.
        let mut shard = self.shards[(hash >> 32) as usize % Self::SHARDS].lock();
        let Shard { buckets, sweep_at } = &mut *shard;
        if buckets.len() >= (*sweep_at).max(Self::FEW) {
            buckets.retain(|(_, own)| !own.iter().all(|bucket| bucket.is_full(now)));
            *sweep_at = buckets.len() * 2;
            buckets.shrink_to(*sweep_at, |(of, _)| *of);
        }
        let entry = buckets.entry(hash, |(of, _)| *of == hash, |(of, _)| *of);
        let entry = entry.or_insert_with(|| (hash, std::array::from_fn(|_| Bucket::default())));
        let (_, own) = entry.get();
        f(own)
    }

    /// Takes these numbers of tokens from the user's buckets, in order; stops at the first bucket that has
    /// too few, and returns its index.
    pub(crate) fn take(&self, uid: &Uid, now: Instant, tokens: [u64; N]) -> Result<(), usize> {
        if self.rates.iter().all(Option::is_none) {
            return Ok(());
        }
        let at = nanoseconds(now);
        let refused = self.with_buckets(uid, now, |own| {
            let taken = |n: usize| self.rates[n].is_none_or(|rate| own[n].take_some(rate, at, tokens[n]));
            (0..N).find(|n| !taken(*n))
        });
        match refused {
            Some(refused) => Err(refused),
            None => {
                self.count(uid, tokens);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn taken(bucket: &Bucket, rate: Option<Rate>, now: Instant, tries: u32) -> usize {
        (0..tries).filter(|_| bucket.take(rate, now)).count()
    }

    #[test]
    fn allows_the_burst_then_the_rate() {
        let rate = Rate::new(10, 1, 20);
        let start = crate::clock::now();
        let bucket = Bucket::default();
        assert_eq!(taken(&bucket, rate, start, 100), 20);
        assert_eq!(taken(&bucket, rate, start + Duration::from_millis(550), 100), 5);
        assert_eq!(taken(&bucket, rate, start + Duration::from_secs(3600), 100), 20);
    }

    #[test]
    fn zero_is_no_limit() {
        let start = crate::clock::now();
        for rate in [Rate::new(0, 1, 1), Rate::new(1, 1, 0)] {
            assert_eq!(taken(&Bucket::default(), rate, start, 1_000), 1_000);
        }
    }

    #[test]
    fn users_have_buckets_of_their_own_and_are_forgotten() {
        let buckets = UserBuckets::new([Rate::new(1, 1, 2)]);
        let start = crate::clock::now();
        for number in 0_u16..20_000 {
            // The buckets of a user are full again when the next user but one begins.
            let now = start + Duration::from_secs(number.into());
            let uid = Uid::new(&number.to_string()).unwrap();
            let take = || buckets.take(&uid, now, [1]).is_ok();
            assert!(take() && take() && !take());
        }
        let remembered: usize = buckets
            .shards
            .iter()
            .map(|shard| shard.lock().buckets.len())
            .sum();
        assert!(
            remembered <= UserBuckets::<1>::SHARDS * UserBuckets::<1>::FEW,
            "{remembered}"
        );
    }

    #[test]
    fn buckets_of_one_user_are_taken_from_together() {
        let buckets = UserBuckets::new([Rate::new(2, 1, 2), Rate::new(60, 60, 100)]);
        let start = crate::clock::now();
        let uid = Uid::new("a").unwrap();
        assert_eq!(buckets.take(&uid, start, [1, 90]), Ok(()));
        assert_eq!(buckets.take(&uid, start, [1, 20]), Err(1), "10 bytes are left");
        assert_eq!(buckets.take(&uid, start, [1, 10]), Err(0));
        let later = start + Duration::from_secs(10);
        assert_eq!(buckets.take(&uid, later, [1, 21]), Err(1), "20 bytes are left");
        assert_eq!(buckets.take(&uid, later, [1, 20]), Ok(()));
        assert_eq!(buckets.take(&uid, later, [0, u64::MAX]), Err(1));
    }

    #[test]
    fn what_was_taken_on_another_node_is_subtracted() {
        let rates = || [Rate::new(100, 1, 200)];
        let nodes = [0, 1].map(|_| UserBuckets::new(rates()).shared(true));
        let start = crate::clock::now();
        let [alice, bob] = ["alice", "bob"].map(|name| Uid::new(name).unwrap());
        let taken = |node: &UserBuckets<1>, now| {
            std::iter::repeat_with(|| node.take(&alice, now, [1]))
                .take(1_000)
                .filter(Result::is_ok)
                .count()
        };
        let mut total = 0;
        for half_seconds in 0..40 {
            let now = start + Duration::from_millis(500 * half_seconds);
            total += nodes.iter().map(|node| taken(node, now)).sum::<usize>();
            nodes[0].take(&bob, now, [1]).unwrap();
            let spent = nodes.each_ref().map(UserBuckets::take_spent);
            assert!(
                spent[0].iter().all(|(uid, _)| *uid == alice),
                "bob has taken little"
            );
            for (node, spent) in nodes.iter().zip(spent.iter().rev()) {
                for (uid, tokens) in spent {
                    node.subtract(uid, now, *tokens);
                }
            }
        }
        // The burst, and 19.5 s of the rate. Both nodes accept the burst before they hear of each other.
        assert!((1_900..=2_600).contains(&total), "{total}");
        let alone = UserBuckets::new(rates());
        alone.take(&alice, start, [200]).unwrap();
        assert!(alone.take_spent().is_empty());
    }
}
