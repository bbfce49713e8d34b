//! The locks of code whose interleavings are explored: the test build puts loom's in their place.

/// A lock that is not poisoned by a panic.
pub(crate) use parking_lot::Mutex;
