//! Locks and hash keys for code whose interleavings are explored by tests. The test build replaces them by
//! its own, so that a run can be repeated exactly.

/// A lock that a panic does not poison.
pub(crate) use parking_lot::Mutex;

/// A hasher with random keys, for keys that clients choose.
pub(crate) use std::hash::RandomState as Hashing;
