//! Fair sharing of a scarce resource: a key (a user, an address) with many requests waits behind its own
//! requests, and does not delay others.
//!
//! [`Slots`] are a semaphore whose waiters wait in a fair [`Queue`]. Some slots may be reserved for keys that
//! have none.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use mynah_store::fair::{Key, Queue};
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, oneshot};

/// One in this many shared slots is reserved for keys that have none.
const KEPT: usize = 4;

/// Whether a request is the only one of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The key has no slot and no other request. It may use the reserved slots.
    First,
    /// The key has slots, or other requests that wait.
    Further,
}

impl Turn {
    /// Returns the turn of a key with this number of requests, including the new one.
    pub(crate) fn of(requests: usize) -> Self {
        if requests <= 1 { Self::First } else { Self::Further }
    }
}

/// A number of slots. Requests wait for them in fair order between their keys.
#[derive(Debug)]
pub(crate) struct Slots<K: Key> {
    state: Mutex<SlotsState<K>>,
    /// Number of slots that only first requests may take.
    kept: usize,
    /// Number of slots that further requests may take.
    shared: usize,
    /// The maximum number of requests of one key that may wait; 0 is unlimited.
    most: usize,
}

#[derive(Debug)]
struct SlotsState<K: Key> {
    free: usize,
    first: Queue<K, Waiter<K>>,
    further: Queue<K, Waiter<K>>,
}

/// A request that waits for this many slots.
#[derive(Debug)]
struct Waiter<K: Key> {
    count: usize,
    tell: oneshot::Sender<Slot<K>>,
}

impl<K: Key> Waiter<K> {
    /// Returns whether nobody waits any more.
    fn is_over(&self) -> bool {
        self.tell.is_closed()
    }
}

/// One or more slots, which are freed when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot<K: Key> {
    of: Arc<Slots<K>>,
    count: usize,
}

/// The error when too many requests of a key wait already.
#[derive(Debug)]
pub(crate) struct Full;

impl<K: Key> Slots<K> {
    /// Creates slots that are all given out in the order of the queue. At most `most` requests of a key may
    /// wait; 0 is unlimited.
    pub(crate) fn new(slots: usize, most: usize) -> Arc<Self> {
        Self::keeping(0, slots, most)
    }

    /// Creates slots of which a quarter is reserved for keys that have none, so that greedy keys do not delay
    /// them. Any number of requests may wait.
    pub(crate) fn shared(slots: usize) -> Arc<Self> {
        Self::keeping(slots / KEPT, slots, 0)
    }

    fn keeping(kept: usize, slots: usize, most: usize) -> Arc<Self> {
        let state = SlotsState {
            free: slots,
            first: Queue::default(),
            further: Queue::default(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            kept,
            shared: slots - kept,
            most,
        })
    }

    /// Returns the largest number of slots that a further request can get at once.
    pub(crate) fn largest(&self) -> usize {
        self.shared
    }

    /// Returns the number of free slots.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn free(&self) -> usize {
        self.state.lock().free
    }

    /// Takes a slot, if no other request comes first.
    pub(crate) fn try_take(self: &Arc<Self>, turn: Turn) -> Option<Slot<K>> {
        let took = self.state.lock().take(turn, 1, self.kept);
        took.then(|| self.slot(1))
    }

    /// Waits for `count` slots, at most [`Slots::largest`]. Dropping the future removes the request from the
    /// queue.
    pub(crate) async fn take(self: &Arc<Self>, key: K, turn: Turn, count: usize) -> Result<Slot<K>, Full> {
        let told = {
            let mut state = self.state.lock();
            if state.take(turn, count, self.kept) {
                return Ok(self.slot(count));
            }
            let (tell, told) = oneshot::channel();
            let queue = match turn {
                Turn::First => &mut state.first,
                Turn::Further => &mut state.further,
            };
            let pushed = queue.push(key, Waiter { count, tell }, self.most, Waiter::is_over);
            pushed.map_err(|_| Full)?;
            told
        };
        // The sender is dropped without a slot only together with `self`, which is alive here.
        told.await.map_err(|_| Full)
    }

    fn slot(self: &Arc<Self>, count: usize) -> Slot<K> {
        Slot {
            of: self.clone(),
            count,
        }
    }

    /// Gives free slots to the next waiters.
    fn give(self: &Arc<Self>, count: usize) {
        let mut state = self.state.lock();
        state.free += count;
        while let Some(Waiter { count, tell }) = state.next(self.kept) {
            // The slots are sent without the lock: if the receiver has stopped waiting in the meantime, they
            // are dropped, which takes the lock and gives them to the next waiter.
            drop(state);
            drop(tell.send(self.slot(count)));
            state = self.state.lock();
        }
    }
}

impl<K: Key> SlotsState<K> {
    /// Takes slots for a new request. Returns false if it must wait.
    fn take(&mut self, turn: Turn, count: usize, kept: usize) -> bool {
        let (is_next, kept) = match turn {
            Turn::First => (self.first.is_empty(), 0),
            Turn::Further => (self.first.is_empty() && self.further.is_empty(), kept),
        };
        let takes = is_next && self.free >= count + kept;
        if takes {
            self.free -= count;
        }
        takes
    }

    /// Takes slots for the next waiter, if there are enough.
    fn next(&mut self, kept: usize) -> Option<Waiter<K>> {
        for (queue, kept) in [(&mut self.first, 0), (&mut self.further, kept)] {
            while let Some(waiter) = queue.first() {
                if waiter.is_over() {
                    queue.pop();
                } else if self.free >= waiter.count + kept {
                    self.free -= waiter.count;
                    return queue.pop();
                } else {
                    break;
                }
            }
        }
        None
    }
}

impl<K: Key> Slot<K> {
    /// Takes one of these slots out, so that it can be freed separately. Returns `None` if no slot is left.
    pub(crate) fn split_one(&mut self) -> Option<Self> {
        self.count = self.count.checked_sub(1)?;
        Some(self.of.slot(1))
    }

    /// Adds the slots of another value, which must be of the same [`Slots`].
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.count += std::mem::take(&mut other.count);
    }

    /// Returns the number of slots.
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

impl<K: Key> Drop for Slot<K> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.of.give(self.count);
        }
    }
}

/// Allows one request of each key at a time. Other requests of the key wait in order.
#[derive(Debug)]
pub(crate) struct OneAtATime<K: Key>(Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>);

impl<K: Key> Default for OneAtATime<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Key> OneAtATime<K> {
    /// Waits until no other request of this key is in flight. The next one may begin when the guard is
    /// dropped.
    pub(crate) async fn begin(&self, key: &K) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock();
            // Locks that nobody uses are removed, so that there are only as many as keys with requests.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(key.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }
}
