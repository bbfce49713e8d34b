//! `[store]`

use std::path::PathBuf;

use mynah_store::Durability;

use super::secret::Secret;
use super::section::section;

section! {
    /// The store, which keeps the history.
    pub struct StoreConfig {
        /// Keeps everything in this PostgreSQL database (13 or later) instead of the data directory:
        /// "postgres://user:password@host:5432/database". After "?" it may have sslmode (disable, prefer,
        /// require, verify-ca, verify-full) and sslrootcert (a file of trusted certificates). Without
        /// cluster.redis_url, one server may use a database at a time. See docs/POSTGRES.md.
        pub url: Option<Secret> = None;
        /// The data directory, which is not used if url is set.
        pub path: PathBuf = "./mynah-data".into();
        /// "power": what was answered survives a power failure (fsync before the answer). "process": it
        /// survives only a crash of the program. With url, PostgreSQL's synchronous_commit decides instead.
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
