//! What every store is given when it is opened.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What an answered message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// A power failure.
    Power,
    /// A crash of the process, but not of the machine.
    Process,
}

/// Hears of every transaction, to count it. Must not block.
pub trait Observer: Send + Sync + 'static {
    /// A transaction of this many commands (0: it was an attempt to write) was committed after `took`.
    fn committed(&self, commands: usize, took: Duration);

    /// A transaction failed because the store was in trouble.
    fn failed(&self);
}

/// Counts nothing.
impl Observer for () {
    fn committed(&self, _: usize, _: Duration) {}

    fn failed(&self) {}
}
