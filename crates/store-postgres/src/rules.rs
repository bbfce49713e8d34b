//! Limits that the store itself enforces.

use std::sync::Arc;

use mynah_store::UnixMillis;

/// A clock of a test: a time of day, which jumps when it is set, and a steady one.
pub type TestClock = Arc<dyn Fn() -> (UnixMillis, UnixMillis) + Send + Sync>;

/// See the module.
pub(super) struct Rules {
    pub(super) dedupe_window_ms: u64,
    pub(super) max_members: usize,
    /// The maximum number of devices of a user.
    pub(super) max_devices: usize,
    /// Whether new members see messages from before they joined.
    pub(super) new_members_see_all: bool,
    /// How long messages are kept; 0 is for ever.
    pub(super) keep_ms: u64,
    /// Added to all row numbers; see `rows.rs`.
    pub(super) base: i64,
    /// The random number of this node (`nodes.rs`).
    pub(super) node: i64,
    /// Takes the place of PostgreSQL's clock and the machine's.
    pub(super) clock: Option<TestClock>,
}
