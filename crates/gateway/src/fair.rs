//! Fair sharing of a scarce resource: a key (a user, an address) with many requests waits behind its own
//! requests, and does not delay others.
//!
//! A [`Queue`] has a lane for each key (a user, an address) and takes from the lanes in turn. [`Slots`] are a semaphore whose waiters
//! stand in such a queue. Invariants: within a lane the order is first in, first out; a lane is bounded; a key without anything waiting
//! takes no memory.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What the requests are grouped by.
pub(crate) trait Key: Hash + Eq + Clone {}
impl<K: Hash + Eq + Clone> Key for K {}

/// See the module.
pub(crate) struct Queue<K, T> {
    lanes: HashMap<K, VecDeque<T>>,
    /// The keys of `lanes`, each once, in the order of their turns.
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
    /// Puts `item` at the end of the key's lane. If `most` items wait there already (0 is no limit), items
    /// that nobody waits for any more (`is_over`) are dropped; if there are none, `item` is returned as an
    /// error.
    pub(crate) fn push(
        &mut self,
        key: K,
        item: T,
        most: usize,
        is_over: impl Fn(&T) -> bool,
    ) -> Result<(), T> {
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

    /// The item that [`Queue::pop`] would take.
    pub(crate) fn first(&self) -> Option<&T> {
        self.lanes.get(self.turns.front()?)?.front()
    }

    /// Takes the first item of the lane whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let key = self.turns.pop_front()?;
        // Invariant: a key in `turns` has a lane, which is not empty.
        let lane = self.lanes.get_mut(&key)?;
        let item = lane.pop_front()?;
        if lane.is_empty() {
            self.lanes.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        self.length -= 1;
        Some(item)
    }

    /// Items that wait, in all lanes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }
}

/// A number of slots. Requests that wait for one get it in fair order between their keys.
pub(crate) struct Slots<K: Key> {
    state: Mutex<State<K>>,
    /// Most requests of one key that may wait; 0 is no limit.
    most: usize,
}

struct State<K: Key> {
    free: usize,
    waiting: Queue<K, oneshot::Sender<Slot<K>>>,
}

/// A slot that was taken; it is free again when this is dropped.
pub(crate) struct Slot<K: Key>(Arc<Slots<K>>);

/// Too many requests of the same key are waiting.
#[derive(Debug)]
pub(crate) struct Full;

impl<K: Key> Slots<K> {
    pub(crate) fn new(slots: usize, most: usize) -> Arc<Self> {
        let state = State {
            free: slots,
            waiting: Queue::default(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            most,
        })
    }

    /// Waits for a slot. Dropping the future gives up the place in the queue.
    pub(crate) async fn take(self: &Arc<Self>, key: K) -> Result<Slot<K>, Full> {
        let told = {
            let mut state = self.state.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Slot(self.clone()));
            }
            let (tell, told) = oneshot::channel();
            let pushed = state
                .waiting
                .push(key, tell, self.most, oneshot::Sender::is_closed);
            pushed.map_err(|_| Full)?;
            told
        };
        // The sender is dropped without a slot only together with `self`, which we hold.
        told.await.map_err(|_| Full)
    }

    /// Gives a slot to whoever is next.
    fn give(self: &Arc<Self>) {
        let mut state = self.state.lock();
        while let Some(next) = state.waiting.pop() {
            // The slot is sent after the lock was released: if nobody receives it, it is dropped, and that
            // takes the lock.
            if !next.is_closed() {
                drop(state);
                // If the receiver has stopped waiting meanwhile, the slot is dropped, which gives it to the
                // next one.
                drop(next.send(Slot(self.clone())));
                return;
            }
        }
        state.free += 1;
    }
}

impl<K: Key> Drop for Slot<K> {
    fn drop(&mut self) {
        self.0.give();
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
    fn a_lane_is_bounded_and_makes_room_for_what_is_still_wanted() {
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

    #[tokio::test]
    async fn slots_go_round_the_keys_and_past_those_who_gave_up() {
        let slots = Slots::new(1, 10);
        let first = slots.take("greedy").await.unwrap();
        let (served, mut order) = tokio::sync::mpsc::channel(10);
        let wait = |key: &'static str, number: u32| {
            let (slots, served) = (slots.clone(), served.clone());
            tokio::spawn(async move {
                let slot = slots.take(key).await.unwrap();
                served.send(number).await.unwrap();
                drop(slot);
            })
        };
        let mut waiting = Vec::new();
        for (key, number) in [("greedy", 1), ("greedy", 2), ("greedy", 3), ("other", 4)] {
            waiting.push(wait(key, number));
            while slots.state.lock().waiting.len() < waiting.len() {
                tokio::task::yield_now().await;
            }
        }
        waiting[1].abort();
        assert!(waiting.remove(1).await.is_err());
        drop(first);
        let mut came = Vec::new();
        while let Some(number) = order.recv().await {
            came.push(number);
            if came.len() == 3 {
                break;
            }
        }
        assert_eq!(came, [1, 4, 3]);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(slots.state.lock().free, 1);
    }

    #[tokio::test]
    async fn too_many_of_one_key_are_refused_at_once() {
        let slots = Slots::new(0, 2);
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(slots.take("greedy"))).collect();
        for waits in &mut waiting {
            assert!(futures_poll(waits.as_mut()).await.is_none());
        }
        assert!(matches!(slots.take("greedy").await, Err(Full)));
        assert!(futures_poll(std::pin::pin!(slots.take("other"))).await.is_none());
        drop(waiting);
        assert!(futures_poll(std::pin::pin!(slots.take("greedy"))).await.is_none());
    }

    /// Polls once.
    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
