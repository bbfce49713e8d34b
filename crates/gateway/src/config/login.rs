//! `[login]`

use serde::{Deserialize, Serialize};

use super::section::section;

section! {
    /// The connections that a user may have at the same time.
    pub struct Login {
        /// "single": one connection per uid. "per-platform": one per uid and platform. "multi": up to
        /// max_devices.
        pub policy: Policy = Policy::Single;
        /// Connections per uid with policy "multi"; a further one displaces the oldest.
        pub max_devices: usize = 10, in 1..=1_000;
        /// What happens to a displaced connection after it was sent kind 12. "close": it is disconnected for
        /// good. "notify": it stays open, but is no longer registered.
        pub displaced: Displaced = Displaced::Close;
        /// With auth.mode "jwt": revoke the token of a displaced device, so that the device cannot displace
        /// the new one in turn. If its token has no id (`jti`), all tokens are revoked that were issued to
        /// this device so far.
        pub revoke_displaced: bool = false;
    }
}

/// The connections that a uid may have at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// One connection.
    Single,
    /// One connection for each platform.
    PerPlatform,
    /// Up to `login.max_devices` connections.
    Multi,
}

/// What happens to a displaced connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Displaced {
    /// It is disconnected for good.
    Close,
    /// It stays open, but is no longer registered.
    Notify,
}
