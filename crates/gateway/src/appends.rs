//! Slots for what is with the store or with delivery: messages, acknowledgements, read positions, recalls and
//! changes of teams hold one each, `limits.appends_in_flight` in all.
//!
//! A quarter of the slots is kept for connections and callers that have nothing in flight, so that nobody
//! delays the others by sending as much as it may. Who waits for a slot waits in the lane of its user, or of
//! its caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fair::{Slot, Slots, Turn};
use crate::ids::Uid;

/// Whose requests wait in one lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Account {
    /// A user, on all its connections.
    User(Uid),
    /// A caller, by its name.
    Caller(Arc<str>),
}

/// All slots.
pub(crate) type Appends = Slots<Account>;

/// The slot of what is in flight, or several.
pub(crate) type Permit = Slot<Account>;

/// Somebody who calls the gateway's handle: the holder of an API key, or the embedding program. Clones are the
/// same caller.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    name: Arc<str>,
    in_flight: Arc<AtomicUsize>,
}

impl Caller {
    /// A caller of this name who has nothing in flight.
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

/// One of a caller's requests; ends when dropped, whatever happened.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
