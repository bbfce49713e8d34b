//! Points in time as numbers.

/// Milliseconds since 1970 (Unix time).
pub type UnixMillis = u64;
