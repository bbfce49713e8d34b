//! The callers of the gateway's handle. How many requests a caller has in flight decides when its next one
//! has its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fair::Turn;

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

    pub(crate) fn name(&self) -> Arc<str> {
        self.name.clone()
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
