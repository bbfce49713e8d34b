//! `[store]`

use std::path::PathBuf;

use mynah_store::Durability;

use super::section::section;

section! {
    /// The store, which keeps the history.
    pub struct StoreConfig {
        /// The data directory.
        pub path: PathBuf = "./mynah-data".into();
        /// "power": what was answered survives a power failure (fsync before the answer). "process": it
        /// survives only a crash of the program.
        pub durability: Durability = Durability::Power;
        /// Messages older than this number of days are deleted; 0 keeps them for ever. The numbers (`seq`) of
        /// later messages do not change. The age is measured, not read from the clock: messages are not
        /// deleted early if the clock jumps, or is wrong when the server starts.
        pub retention_days: u32 = 0, in 0..=36_500;
    }
}

impl StoreConfig {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if self.path.as_os_str().is_empty() {
            problems.push("store.path must not be empty".into());
        }
    }
}
