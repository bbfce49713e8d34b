//! Whether writes succeed at present, and the number of dead push jobs.

use std::sync::atomic::{AtomicU64, Ordering};

use mynah_store::StoreError;
use parking_lot::Mutex;

/// The state of the store for health checks and metrics.
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

    /// Counts push jobs that were given up.
    pub(super) fn gave_up(&self, dead_jobs: u64) {
        self.dead_jobs.fetch_add(dead_jobs, Ordering::Relaxed);
    }

    /// Called after something was written.
    pub(super) fn recovered(&self) {
        if self.trouble.lock().take().is_some() {
            tracing::info!("the store can be written again");
        }
    }

    /// Counts dead push jobs that were deleted with their messages.
    pub(super) fn buried(&self, dead_jobs: u64) {
        self.dead_jobs.fetch_sub(dead_jobs, Ordering::Relaxed);
    }

    /// Called after a failed transaction.
    pub(super) fn failed(&self, error: &StoreError) {
        *self.trouble.lock() = Some(error.clone());
    }

    /// Returns the error of the last transaction, if it failed.
    pub(super) fn state(&self) -> Result<(), StoreError> {
        self.trouble.lock().clone().map_or(Ok(()), Err)
    }

    /// Returns the number of dead push jobs.
    pub(super) fn dead_jobs(&self) -> u64 {
        self.dead_jobs.load(Ordering::Relaxed)
    }
}
