//! Time as an argument.

/// An instant: milliseconds since an origin of the caller's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The instant `ms` milliseconds later.
    pub const fn after(self, ms: u32) -> Self {
        Self(self.0.saturating_add(ms as u64))
    }
}

/// The waits of a session, in milliseconds; the same for all sessions of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// From one heartbeat to the next.
    pub ping_interval: u32,
    /// For the answer to a heartbeat.
    pub ping_timeout: u32,
    /// From the arrival of a candidate transport to its upgrade packet.
    pub upgrade_timeout: u32,
}

impl Default for Times {
    /// The defaults of Node's server.
    fn default() -> Self {
        Self {
            ping_interval: 25_000,
            ping_timeout: 20_000,
            upgrade_timeout: 10_000,
        }
    }
}
