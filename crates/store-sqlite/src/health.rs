//! Whether writes succeed at present.

use mynah_store::StoreError;
use parking_lot::Mutex;

/// The state of the store for health checks.
#[derive(Default)]
pub(super) struct Health {
    trouble: Mutex<Option<StoreError>>,
}

impl Health {
    /// Called after something was written.
    pub(super) fn recovered(&self) {
        if self.trouble.lock().take().is_some() {
            tracing::info!("the store can be written again");
        }
    }

    /// Called after a failed transaction.
    pub(super) fn failed(&self, error: &StoreError) {
        *self.trouble.lock() = Some(error.clone());
    }

    /// Returns the error of the last transaction, if it failed.
    pub(super) fn state(&self) -> Result<(), StoreError> {
        self.trouble.lock().clone().map_or(Ok(()), Err)
    }
}
