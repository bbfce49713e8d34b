//! What a client has proved about itself: the claims of its token, or the backend's decision instead of a
//! token.

use crate::ids::{DeviceId, Uid};

/// The claims of a connection, which are kept as long as it is registered with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    /// The user.
    pub(crate) sub: Uid,
    /// The only device that may register; `None` allows all.
    pub(crate) device: Option<DeviceId>,
    /// The only platform that may register; `None` allows all.
    pub(crate) platform: Option<Box<str>>,
    /// The only kinds that the client may send; `None` allows all.
    pub(crate) kinds: Option<Box<[u16]>>,
    /// When the claims expire, in Unix milliseconds, including the leeway.
    pub(crate) exp: u64,
    /// When the claims expire on the monotonic clock, if the backend gave a duration (`ttl_ms`).
    pub(crate) ends: u64,
    /// When the token was issued, in Unix milliseconds.
    pub(crate) iat: Option<u64>,
    /// The token's id.
    pub(crate) jti: Option<Box<str>>,
}

impl Claims {
    /// The expiry of claims that do not expire.
    pub(crate) const NEVER: u64 = u64::MAX;

    /// For how many more milliseconds the claims are valid; 0 if they have expired. An expiry that was given
    /// as a time of day is compared with the time of day, even if the clock was set meanwhile. An expiry that
    /// was given as a duration is measured with the steady clock.
    pub(crate) fn left(&self, day: u64, steady: u64) -> u64 {
        self.exp.saturating_sub(day).min(self.ends.saturating_sub(steady))
    }

    /// Whether messages of this kind may be sent.
    pub(crate) fn allow(&self, kind: u16) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }
}
