//! Reading: a few connections, used on tokio's blocking threads.
//!
//! Every read is one short transaction, so that it sees one moment and never holds the log for long.

use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::failure::{Failure, stopped, unavailable};
use super::open::Place;
use crate::store::{StoreError, StoreFuture};

/// Reads that run at the same time; more wait.
const READERS: usize = 4;

/// See the module.
pub(super) struct Readers {
    place: Arc<Place>,
    idle: Mutex<Vec<Connection>>,
    free: Semaphore,
    /// Read on the thread that asks.
    #[cfg(test)]
    inline: AtomicBool,
}

impl Readers {
    pub(super) fn new(place: Arc<Place>) -> Self {
        Self {
            place,
            idle: Mutex::new(Vec::new()),
            free: Semaphore::new(READERS),
            #[cfg(test)]
            inline: AtomicBool::new(false),
        }
    }

    /// Runs `read` on a connection of the pool.
    pub(super) fn run<T, F>(self: &Arc<Self>, read: F) -> StoreFuture<'static, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let readers = self.clone();
        Box::pin(async move {
            let _permit = readers.free.acquire().await.map_err(|_| stopped())?;
            #[cfg(test)]
            if readers.inline.load(Ordering::Relaxed) {
                return readers.run_blocking(read);
            }
            let run = {
                let readers = readers.clone();
                move || readers.run_blocking(read)
            };
            let done = tokio::task::spawn_blocking(run).await;
            done.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
        })
    }

    /// From now on reads use no other threads.
    #[cfg(test)]
    pub(super) fn read_inline(&self) {
        self.inline.store(true, Ordering::Relaxed);
    }

    /// Lets nothing more run, and closes the connections.
    pub(super) fn close(&self) {
        self.free.close();
        self.idle.lock().clear();
    }

    fn run_blocking<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, StoreError> {
        let idle = self.idle.lock().pop();
        let outcome = idle
            .map_or_else(|| self.place.reader(), Ok)
            .map_err(Failure::Broken)
            .and_then(|db| {
                let tx = db.unchecked_transaction()?;
                let found = read(&tx)?;
                tx.commit()?;
                if !self.free.is_closed() {
                    self.idle.lock().push(db);
                }
                Ok(found)
            });
        outcome.map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Broken(error) => {
                tracing::error!(%error, "a read failed");
                unavailable(&error)
            }
        })
    }
}
