//! `[login]`

use serde::{Deserialize, Serialize};

use super::section::section;

section! {
    /// How often a user may be connected.
    pub struct Login {
        /// "single": one connection per uid. "per-platform": one per uid and platform. "multi": up to max_devices.
        pub policy: Policy = Policy::Single;
        /// With "multi": connections per uid; one more displaces the oldest.
        pub max_devices: usize = 10, in 1..=1_000;
        /// What a displaced connection gets after kind 12: "close" sends it away, "notify" leaves it open and unregistered.
        pub displaced: Displaced = Displaced::Close;
        /// With auth.mode "jwt": the token of a displaced device is revoked, so that it cannot bounce back with it. Where tokens have no id (`jti`),
        /// all that this device was given up to then.
        pub revoke_displaced: bool = false;
    }
}

/// How many connections a uid may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// One.
    Single,
    /// One of each platform.
    PerPlatform,
    /// Up to `login.max_devices`.
    Multi,
}

/// What becomes of a displaced connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Displaced {
    /// It is sent away.
    Close,
    /// It stays open, unregistered.
    Notify,
}
