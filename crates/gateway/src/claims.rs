//! What a client has proved about itself: the claims of its token, or what the backend decided in their place.

use crate::ids::{DeviceId, Uid};

/// Kept as long as the connection is registered with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    /// The user.
    pub(crate) sub: Uid,
    /// The only device that it is good for.
    pub(crate) device: Option<DeviceId>,
    /// The only platform that it is good for.
    pub(crate) platform: Option<Box<str>>,
    /// The only kinds that may be sent with it.
    pub(crate) kinds: Option<Box<[u16]>>,
    /// From when on it is worth nothing, in Unix milliseconds, the leeway included.
    pub(crate) exp: u64,
    /// The same on the monotonic clock, if the backend gave a duration (`ttl_ms`).
    pub(crate) ends: u64,
    /// When it was issued, in Unix milliseconds.
    pub(crate) iat: Option<u64>,
    /// Its own id.
    pub(crate) jti: Option<Box<str>>,
}

impl Claims {
    /// The end of what has none.
    pub(crate) const NEVER: u64 = u64::MAX;

    /// For how many more milliseconds the claims are valid; 0 when they have expired. An expiry that was
    /// given as a time of day is compared with the time of day, even if that was set meanwhile; one that was
    /// given as a duration is measured with the steady clock.
    pub(crate) fn left(&self, day: u64, steady: u64) -> u64 {
        self.exp.saturating_sub(day).min(self.ends.saturating_sub(steady))
    }

    /// Whether messages of this kind may be sent.
    pub(crate) fn allow(&self, kind: u16) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }
}
