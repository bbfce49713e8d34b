//! Connections for reads: a limited number, opened when they are needed and dropped when they fail.
//!
//! Invariants: a connection is given to one reader at a time; one whose reader failed or gave up is not used
//! again; nobody waits longer than the limit for a connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mynah_store::StoreError;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::address::Address;
use super::failure::Failure;
use super::session::{PATIENCE, Session, in_time};

/// The maximum number of reads that may wait for a connection.
const MOST_WAITING: usize = 4_096;

/// A read that uses a connection.
pub(super) type Reading<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// See the module.
pub(super) struct Pool {
    address: Address,
    idle: Mutex<Vec<Session>>,
    permits: Semaphore,
    waiting: Semaphore,
    runtime: Handle,
}

impl Pool {
    pub(super) fn new(address: Address, most: usize, runtime: Handle) -> Self {
        Self {
            address,
            idle: Mutex::default(),
            permits: Semaphore::new(most.max(1)),
            waiting: Semaphore::new(MOST_WAITING),
            runtime,
        }
    }

    /// Runs `read` with `asked` and a connection, on the runtime of the store.
    pub(super) fn run<A, T>(
        self: &Arc<Self>,
        asked: A,
        read: impl for<'a> Fn(&'a Session, &'a A) -> Reading<'a, T> + Send + Sync + 'static,
    ) -> mynah_store::StoreFuture<'static, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let pool = self.clone();
        let task = self.runtime.spawn(async move { pool.serve(&asked, read).await });
        let abort = Abort(task.abort_handle());
        Box::pin(async move {
            let outcome = task.await.unwrap_or_else(|_| Err(StoreError::stopped()));
            drop(abort);
            outcome
        })
    }

    async fn serve<A: Sync, T>(
        &self,
        asked: &A,
        read: impl for<'a> Fn(&'a Session, &'a A) -> Reading<'a, T> + Sync,
    ) -> Result<T, StoreError> {
        let Ok(_place) = self.waiting.try_acquire() else {
            let why = format!("{MOST_WAITING} reads are already waiting; try again later");
            return Err(StoreError::Unavailable(why));
        };
        let permit = tokio::time::timeout(PATIENCE, self.permits.acquire()).await;
        let _permit = permit
            .map_err(|_| Failure::Late.told())?
            .map_err(|_| StoreError::stopped())?;
        // An idle connection may have ended unnoticed, for example because the server was restarted.
        if let Some(session) = self.take() {
            let outcome = in_time(read(&session, asked)).await;
            if !matches!(&outcome, Err(error) if error.ends_connection()) {
                return self.finish(session, outcome);
            }
        }
        let session = Session::connect(&self.address, &[])
            .await
            .map_err(|error| error.told())?;
        let outcome = in_time(read(&session, asked)).await;
        self.finish(session, outcome)
    }

    fn finish<T>(&self, session: Session, outcome: Result<T, Failure>) -> Result<T, StoreError> {
        match &outcome {
            Ok(_) | Err(Failure::Refused(_)) => self.idle.lock().push(session),
            // A transaction may be open, or an answer may be in flight.
            Err(error) => tracing::error!(error = %error.told(), "a read failed"),
        }
        outcome.map_err(|error| error.told())
    }

    fn take(&self) -> Option<Session> {
        let mut idle = self.idle.lock();
        while let Some(session) = idle.pop() {
            if !session.is_closed() {
                return Some(session);
            }
        }
        None
    }

    /// Refuses further reads.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().clear();
    }
}

/// Ends a read for which nobody waits any more.
struct Abort(tokio::task::AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}
