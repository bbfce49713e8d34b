//! Whether writes succeed at present, and what is counted.

use std::sync::atomic::{AtomicU64, Ordering};

use mynah_store::StoreError;
use parking_lot::Mutex;

/// See the module.
pub(super) struct Health {
    trouble: Mutex<Option<StoreError>>,
    dead_jobs: AtomicU64,
}

impl Health {
    pub(super) fn new(dead_jobs: u64) -> Self {
        Self {
            trouble: Mutex::new(None),
            dead_jobs: AtomicU64::new(dead_jobs),
        }
    }

    /// So many jobs were given up.
    pub(super) fn gave_up(&self, dead_jobs: u64) {
        self.dead_jobs.fetch_add(dead_jobs, Ordering::Relaxed);
    }

    /// Something was written.
    pub(super) fn recovered(&self) {
        if self.trouble.lock().take().is_some() {
            tracing::info!("the store can be written again");
        }
    }

    /// So many jobs that had been given up were deleted with their messages.
    pub(super) fn buried(&self, dead_jobs: u64) {
        self.dead_jobs.fetch_sub(dead_jobs, Ordering::Relaxed);
    }

    /// A transaction failed.
    pub(super) fn failed(&self, error: &StoreError) {
        *self.trouble.lock() = Some(error.clone());
    }

    /// The last transaction's error, if it failed.
    pub(super) fn state(&self) -> Result<(), StoreError> {
        self.trouble.lock().clone().map_or(Ok(()), Err)
    }

    /// Jobs that were given up.
    pub(super) fn dead_jobs(&self) -> u64 {
        self.dead_jobs.load(Ordering::Relaxed)
    }
}
