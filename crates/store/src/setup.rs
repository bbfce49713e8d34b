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

/// Is told of every transaction, to count it. The methods must not block.
pub trait Observer: Send + Sync + 'static {
    /// A transaction of `commands` commands was committed in the time `took`. With 0 commands it was an
    /// attempt to write after a failure.
    fn committed(&self, commands: usize, took: Duration);

    /// A transaction failed because of the store, for example because the disk is full.
    fn failed(&self);
}

/// An observer that counts nothing.
impl Observer for () {
    fn committed(&self, _: usize, _: Duration) {}

    fn failed(&self) {}
}
