//! The locks of code whose interleavings are explored, and what else must be the same each time: the test build puts its own in their
//! place.

/// A lock that is not poisoned by a panic.
pub(crate) use parking_lot::Mutex;

/// Hashes what clients choose, with keys of its own.
pub(crate) use std::hash::RandomState as Hashing;
