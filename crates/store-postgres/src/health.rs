//! Whether the store works, and PostgreSQL's time, for other threads, which must not wait.

use std::sync::atomic::{AtomicU64, Ordering};

use mynah_store::{StoreError, UnixMillis};
use parking_lot::Mutex;
use tokio::sync::SetOnce;

use super::age::steady;
use super::failure::LOST;

/// After this time without a heartbeat a node does nothing that needs the record. In milliseconds.
pub(super) const SILENT_MS: u64 = 3_000;

/// See the module.
#[derive(Default)]
pub(super) struct Health {
    trouble: Mutex<Option<StoreError>>,
    /// The latest time that PostgreSQL has reported.
    now: AtomicU64,
    /// When the last heartbeat that was written began, by the steady clock.
    beat: AtomicU64,
    /// Set when another node has deleted the row of this one.
    lost: SetOnce<()>,
}

impl Health {
    /// Whether writing works at present.
    pub(super) fn state(&self) -> Result<(), StoreError> {
        self.serves()?;
        self.trouble.lock().clone().map_or(Ok(()), Err)
    }

    /// Whether this node may do what needs the record.
    pub(super) fn serves(&self) -> Result<(), StoreError> {
        if self.lost.get().is_some() {
            return Err(StoreError::Unavailable(LOST.to_owned()));
        }
        let silent_ms = steady().saturating_sub(self.beat.load(Ordering::Relaxed));
        if silent_ms < SILENT_MS {
            return Ok(());
        }
        let why = format!("PostgreSQL has not taken a heartbeat for {} s", silent_ms / 1_000);
        Err(StoreError::Unavailable(why))
    }

    /// A heartbeat was written; it began at this time of the steady clock.
    pub(super) fn beat(&self, begun: UnixMillis) {
        self.beat.fetch_max(begun, Ordering::Relaxed);
    }

    /// Another node has taken over.
    pub(super) fn lose(&self) {
        let _ = self.lost.set(());
    }

    /// Waits until another node has taken over.
    pub(super) async fn lost(&self) {
        self.lost.wait().await;
    }

    /// Something was written, or PostgreSQL answered that it can be.
    pub(super) fn recovered(&self) {
        if self.trouble.lock().take().is_some() {
            tracing::info!("PostgreSQL can be written again");
        }
    }

    pub(super) fn failed(&self, error: &StoreError) {
        let mut trouble = self.trouble.lock();
        if trouble.is_none() {
            tracing::error!(%error, "PostgreSQL cannot be written");
        }
        *trouble = Some(error.clone());
    }

    pub(super) fn passed(&self, now: UnixMillis) {
        self.now.fetch_max(now, Ordering::Relaxed);
    }

    pub(super) fn certain(&self) -> UnixMillis {
        self.now.load(Ordering::Relaxed)
    }
}
