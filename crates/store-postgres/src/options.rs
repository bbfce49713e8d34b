//! The settings of a store.

use std::sync::Arc;

use mynah_store::Observer;

use super::nodes::Peer;
use super::rules::TestClock;

/// The schema of the tables.
pub const SCHEMA: &str = "mynah";

/// The parameters of [`Postgres::open`].
pub struct Options {
    /// `postgres://user:password@host:port/database`, with `sslmode` and `sslrootcert` as libpq has them.
    pub url: String,
    /// The schema of the tables, which is created if it does not exist.
    pub schema: String,
    /// The maximum number of connections for reads. One more writes, and one is opened from time to time to
    /// delete old messages.
    pub readers: usize,
    /// No other node may use the database at the same time.
    pub alone: bool,
    /// What this node says to the others, if there are others.
    pub peer: Option<Peer>,
    /// How long a sender's `cid` is remembered.
    pub dedupe_window_ms: u64,
    /// The maximum number of members of a team.
    pub max_members: usize,
    /// The maximum number of devices of a user that are remembered.
    pub max_devices: usize,
    /// Whether new members of a team see messages from before they joined.
    pub new_members_see_all: bool,
    /// How long messages are kept, in milliseconds; 0 is for ever.
    pub retention_ms: u64,
    /// The longest time between two attempts of a push job, in milliseconds. Stored deadlines that are
    /// further away are reduced to it.
    pub longest_push_wait_ms: u64,
    /// The longest life of a push job, in milliseconds. Stored ones are reduced to it likewise.
    pub longest_push_life_ms: u64,
    /// Takes the place of PostgreSQL's clock and the machine's, for tests.
    pub clock: Option<TestClock>,
    /// Counts transactions and failures.
    pub observer: Arc<dyn Observer>,
}

impl Options {
    /// The defaults (docs/PROTOCOL.md#10-limits) for this database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: SCHEMA.to_owned(),
            readers: 4,
            alone: false,
            peer: None,
            dedupe_window_ms: 7 * 24 * 3_600_000,
            max_members: 100_000,
            max_devices: 100,
            new_members_see_all: false,
            retention_ms: 0,
            longest_push_wait_ms: 75_000,
            longest_push_life_ms: 24 * 3_600_000,
            clock: None,
            observer: Arc::new(()),
        }
    }
}
