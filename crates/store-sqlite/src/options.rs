//! The parameters of a store.

use std::path::PathBuf;
use std::sync::Arc;

use mynah_store::{Durability, Observer};

use super::clock::Clock;

/// The parameters of [`Embedded::open`](super::Embedded::open).
pub struct Options {
    /// The data directory. It is created if it does not exist.
    pub path: PathBuf,
    /// What an answered append survives.
    pub durability: Durability,
    /// How long a `cid` is remembered, in milliseconds.
    pub dedupe_window_ms: u64,
    /// The maximum number of cids that are kept in memory before they are moved to their table.
    pub fresh_cids: usize,
    /// The maximum number of members of a team.
    pub max_members: usize,
    /// The maximum number of devices of one user that are remembered.
    pub max_devices: usize,
    /// Whether new members of a team see messages from before they joined.
    pub new_members_see_all: bool,
    /// How long messages are kept, in milliseconds; 0 is unlimited.
    pub retention_ms: u64,
    /// The longest time between two attempts of a push job, in milliseconds. Stored deadlines that are
    /// further away are reduced to it.
    pub longest_push_wait_ms: u64,
    /// The longest life of a push job, in milliseconds. Stored ones are reduced to it likewise.
    pub longest_push_life_ms: u64,
    /// The clocks.
    pub clock: Clock,
    /// The source of randomness for ids: fills the slice with random bytes.
    pub random: fn(&mut [u8]) -> Result<(), getrandom::Error>,
    /// Counts transactions and failures.
    pub observer: Arc<dyn Observer>,
}

impl Options {
    /// Returns the defaults (docs/PROTOCOL.md#10-limits) for the directory `path`, with the system's clocks.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::Power,
            dedupe_window_ms: 7 * 24 * 3_600_000,
            fresh_cids: 32_768,
            max_members: 100_000,
            max_devices: 100,
            new_members_see_all: false,
            retention_ms: 0,
            longest_push_wait_ms: 75_000,
            longest_push_life_ms: 24 * 3_600_000,
            clock: Clock::system(),
            observer: Arc::new(()),
            random: getrandom::fill,
        }
    }
}
