//! Fair queues: a key (a user, an address) with many requests waits behind its own requests, and does not
//! delay others.
//!
//! Invariants: a [`Queue`] has a lane for each key and takes from the lanes in turn; within a lane the order
//! is first in, first out; a lane is bounded; a key without anything waiting takes no memory.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A key by which requests are grouped.
pub trait Key: Hash + Eq + Clone {}
impl<K: Hash + Eq + Clone> Key for K {}

/// The items that wait, grouped by key.
#[derive(Debug)]
pub struct Queue<K, T> {
    lanes: HashMap<K, VecDeque<T>>,
    /// The keys of `lanes`, each once, in the order in which they are served.
    turns: VecDeque<K>,
    length: usize,
}

impl<K, T> Default for Queue<K, T> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            length: 0,
        }
    }
}

impl<K: Key, T> Queue<K, T> {
    /// Appends `item` to the lane of `key`. If `most` items wait there already (0 is unlimited), items for
    /// which nobody waits any more (`is_over`) are dropped. If there are none, the error returns `item`.
    pub fn push(&mut self, key: K, item: T, most: usize, is_over: impl Fn(&T) -> bool) -> Result<(), T> {
        let lane = self.lanes.entry(key).or_insert_with_key(|key| {
            self.turns.push_back(key.clone());
            VecDeque::new()
        });
        if most > 0 && lane.len() >= most {
            let before = lane.len();
            lane.retain(|item| !is_over(item));
            self.length -= before - lane.len();
            if lane.len() >= most {
                return Err(item);
            }
        }
        lane.push_back(item);
        self.length += 1;
        Ok(())
    }

    /// Returns the item that [`Queue::pop`] would return.
    pub fn first(&self) -> Option<&T> {
        self.lanes.get(self.turns.front()?)?.front()
    }

    /// Removes and returns the first item of the lane that is served next.
    pub fn pop(&mut self) -> Option<T> {
        let key = self.turns.pop_front()?;
        // Invariant: a key in `turns` has a lane, which is not empty.
        let lane = self.lanes.get_mut(&key)?;
        let item = lane.pop_front()?;
        if lane.is_empty() {
            self.lanes.remove(&key);
            // Memory that many keys have needed is freed.
            if self.lanes.len() * 8 < self.lanes.capacity() && self.lanes.capacity() > 1_024 {
                let twice = self.lanes.len() * 2;
                self.lanes.shrink_to(twice);
                self.turns.shrink_to(twice);
            }
        } else {
            self.turns.push_back(key);
        }
        self.length -= 1;
        Some(item)
    }

    /// Returns whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the number of items in all lanes.
    pub fn len(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &mut Queue<&'static str, u32>, key: &'static str, item: u32) -> bool {
        queue.push(key, item, 3, |_| false).is_ok()
    }

    #[test]
    fn lanes_take_turns_and_keep_their_order() {
        let mut queue = Queue::default();
        for item in [1, 2, 3] {
            assert!(push(&mut queue, "greedy", item));
        }
        assert!(push(&mut queue, "other", 10) && push(&mut queue, "third", 20));
        assert_eq!((queue.len(), queue.first()), (5, Some(&1)));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [1, 10, 20, 2, 3]);
        assert!(queue.lanes.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn memory_of_many_keys_is_freed() {
        let mut queue = Queue::default();
        for key in 0..100_000 {
            assert!(queue.push(key, (), 1, |()| false).is_ok());
        }
        while queue.pop().is_some() {}
        let room = (queue.lanes.capacity(), queue.turns.capacity());
        assert!(room.0 < 4_096 && room.1 < 4_096, "{room:?}");
    }

    #[test]
    fn a_full_lane_drops_items_for_which_nobody_waits() {
        let mut queue = Queue::default();
        for item in [1, 2, 3] {
            assert!(push(&mut queue, "greedy", item));
        }
        assert!(!push(&mut queue, "greedy", 4), "full");
        assert!(push(&mut queue, "other", 5), "others are not concerned");
        assert!(queue.push("greedy", 6, 3, |item| *item < 3).is_ok());
        assert_eq!(queue.len(), 3);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [3, 5, 6]);
    }
}
