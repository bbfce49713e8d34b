//! Slots for requests that the store or the delivery is working on. Each message, acknowledgement, read
//! position, recall and change of a team holds one slot; there are `limits.appends_in_flight` in total.
//!
//! A quarter of the slots is reserved for connections and callers that have nothing in flight, so that nobody
//! delays the others by sending as much as possible. A request that waits for a slot waits in the lane of its
//! user or caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fair::{Slot, Slots, Turn};
use crate::ids::Uid;

/// The owner of a lane, in which the owner's requests wait.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Account {
    /// A user, with all connections.
    User(Uid),
    /// A caller, by its name.
    Caller(Arc<str>),
}

/// All slots.
pub(crate) type Appends = Slots<Account>;

/// The slot of one request, or several slots.
pub(crate) type Permit = Slot<Account>;

/// A caller of the gateway's handle: the holder of an API key, or the embedding program. Clones are the same
/// caller.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    name: Arc<str>,
    in_flight: Arc<AtomicUsize>,
}

impl Caller {
    /// A caller with this name that has nothing in flight.
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            in_flight: Arc::default(),
        }
    }

    pub(crate) fn account(&self) -> Account {
        Account::Caller(self.name.clone())
    }

    /// Begins a request.
    pub(crate) fn begin(&self) -> (Turn, UnderWay) {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        (Turn::of(before + 1), UnderWay(self.in_flight.clone()))
    }
}

/// A request of a caller. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
