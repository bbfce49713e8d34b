//! A bounded map that forgets its entries after a while. It has two generations.

use std::collections::HashMap;
use std::hash::Hash;

use crate::time::UnixMillis;

/// The maximum number of entries in a generation. Beyond it the older generation is dropped early.
const MOST: usize = 65_536;

/// Remembers an entry for at least `keep_ms` and at most twice as long.
pub(super) struct Recent<K, V> {
    keep_ms: u64,
    new: HashMap<K, V>,
    old: HashMap<K, V>,
    /// When `new` was started.
    since: UnixMillis,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(keep_ms: u64) -> Self {
        Self {
            keep_ms,
            new: HashMap::new(),
            old: HashMap::new(),
            since: 0,
        }
    }

    pub(super) fn put(&mut self, now: UnixMillis, key: K, value: V) {
        if now.abs_diff(self.since) >= self.keep_ms || self.new.len() >= MOST {
            self.old = std::mem::take(&mut self.new);
            self.since = now;
        }
        self.new.insert(key, value);
    }

    /// Frees entries that are never returned again. [`Recent::put`] frees them too, but may not be called for
    /// a long time.
    pub(super) fn forget_old(&mut self, now: UnixMillis) {
        let age = now.abs_diff(self.since);
        if age >= self.keep_ms {
            self.old = HashMap::new();
        }
        if age >= 2 * self.keep_ms {
            self.new = HashMap::new();
        }
    }

    pub(super) fn get(&self, now: UnixMillis, key: &K) -> Option<&V> {
        let age = now.abs_diff(self.since);
        let new = self.new.get(key).filter(|_| age < 2 * self.keep_ms);
        new.or_else(|| self.old.get(key).filter(|_| age < self.keep_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_is_old_and_what_is_too_much() {
        let mut recent = Recent::new(100);
        recent.put(1_000, 1, "a");
        recent.put(1_099, 2, "b");
        recent.put(1_100, 3, "c");
        assert_eq!(
            (recent.get(1_100, &1), recent.get(1_100, &3)),
            (Some(&"a"), Some(&"c"))
        );
        recent.put(1_150, 1, "d");
        assert_eq!(recent.get(1_150, &1), Some(&"d"), "the newer one counts");
        assert_eq!(recent.get(1_199, &2), Some(&"b"));
        assert_eq!((recent.get(1_200, &2), recent.get(1_200, &3)), (None, Some(&"c")));
        assert_eq!(recent.get(1_300, &3), None, "although nothing came meanwhile");
        for key in 10..10 + 3 * MOST {
            recent.put(1_301, key, "many");
        }
        assert!(recent.new.len() + recent.old.len() <= 2 * MOST);
        recent.put(1_401, 1, "later");
        recent.forget_old(1_500);
        let newest = 9 + 3 * MOST;
        assert!(recent.get(1_500, &newest).is_some() && recent.get(1_500, &1).is_some());
        recent.forget_old(1_501);
        assert!(recent.old.capacity() == 0 && recent.get(1_501, &1).is_some());
        recent.forget_old(1_601);
        assert_eq!((recent.new.capacity(), recent.get(1_601, &1)), (0, None));
    }
}
