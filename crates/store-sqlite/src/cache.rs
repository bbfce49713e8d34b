//! A bounded cache that forgets entries that were not used recently.
//!
//! It has two generations. A hit moves an entry to the young one. When that is full, it becomes the old one,
//! and the previous old one is dropped. Invariant: nothing is forgotten between two calls of
//! [`Generations::trim`], so that a transaction can rely on what it has loaded.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A cache with two generations.
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    weight: usize,
    limit: usize,
}

impl<K: Hash + Eq, V> Generations<K, V> {
    /// Creates a cache that keeps entries of a total weight between `limit` and twice `limit`.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            weight: 0,
            limit,
        }
    }

    /// Returns the entry of `key`, which counts as used. `weight` must be as at its insertion.
    pub(super) fn get_mut<Q>(&mut self, key: &Q, weight: impl FnOnce(&V) -> usize) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if !self.old.is_empty()
            && !self.young.contains_key(key)
            && let Some((key, value)) = self.old.remove_entry(key)
        {
            self.weight += weight(&value);
            self.young.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Inserts an entry, which replaces one with the same key.
    pub(super) fn insert(&mut self, key: K, value: V, weight: usize) -> &mut V {
        self.old.remove(&key);
        self.weight += weight;
        self.young.entry(key).insert_entry(value).into_mut()
    }

    /// Forgets one entry.
    pub(super) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Forgets everything, and frees its memory.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Forgets what was not used recently, if the cache is full.
    pub(super) fn trim(&mut self) {
        if self.weight >= self.limit {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_used_entries_and_forgets_the_others() {
        let mut cache = Generations::new(4);
        for round in 0..100u32 {
            cache.insert(round, round, 1);
            assert_eq!(cache.get_mut(&0, |_| 1), Some(&mut 0), "used in every round");
            assert_eq!(cache.get_mut(&round, |_| 1), Some(&mut round.clone()));
            cache.trim();
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert_eq!(cache.get_mut(&50, |_| 1), None);
    }

    #[test]
    fn nothing_is_forgotten_before_a_trim() {
        let mut cache = Generations::new(2);
        for key in 0..100 {
            cache.insert(key, key, 1);
        }
        assert!((0..100).all(|key| cache.get_mut(&key, |_| 1).is_some()));
        cache.remove(&7);
        assert_eq!(cache.get_mut(&7, |_| 1), None);
        cache.clear();
        assert_eq!(cache.get_mut(&8, |_| 1), None);
        assert_eq!((cache.young.capacity(), cache.old.capacity()), (0, 0));
    }
}
