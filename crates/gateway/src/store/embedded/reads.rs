//! Reading: a few threads, each with a connection of its own.
//!
//! Invariants: a read sees one moment, which is not before it was asked for. What waits when a transaction begins may share it; nothing
//! that comes later does, so that no transaction holds the log for long.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::failure::{Failure, stopped, unavailable};
use super::open::Place;
use crate::store::{StoreError, StoreFuture};

/// Reads that run at the same time; more wait.
pub(super) const READERS: usize = 4;

/// A read with somewhere to put what it finds.
type Job = Box<dyn FnOnce(rusqlite::Result<&Connection>) -> Kept + Send>;

/// Whether the connection goes on being used.
type Kept = bool;

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// The number of the next job to come; those in `jobs` have the ones before.
    next: u64,
    /// Threads that do not sleep.
    awake: usize,
    closed: bool,
}

impl Waiting {
    /// The number of the first job.
    fn first(&self) -> u64 {
        self.next - self.jobs.len() as u64
    }
}

/// See the module.
pub(super) struct Readers {
    place: Arc<Place>,
    waiting: Mutex<Waiting>,
    filled: Condvar,
    /// Reads run where they are asked for, on the connection in here.
    #[cfg(any(test, fuzzing))]
    inline: Mutex<Option<Option<Connection>>>,
}

impl Readers {
    pub(super) fn new(place: Arc<Place>) -> Self {
        Self {
            place,
            waiting: Mutex::default(),
            filled: Condvar::new(),
            #[cfg(any(test, fuzzing))]
            inline: Mutex::new(None),
        }
    }

    /// Runs `read` on a thread that reads.
    pub(super) fn run<T, F>(self: &Arc<Self>, read: F) -> StoreFuture<'static, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            if sender.is_closed() {
                return true;
            }
            let outcome = db.map_err(Failure::Broken).and_then(read);
            let kept = !matches!(outcome, Err(Failure::Broken(_)));
            // Nobody listens when the connection that asked has closed.
            let _ = sender.send(outcome.map_err(told));
            kept
        });
        let readers = self.clone();
        Box::pin(async move {
            readers.push(job);
            receiver.await.unwrap_or_else(|_| Err(stopped()))
        })
    }

    fn push(&self, job: Job) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return;
        }
        waiting.next += 1;
        waiting.jobs.push_back(job);
        #[cfg(any(test, fuzzing))]
        if let Some(inline) = &mut *self.inline.lock() {
            drop(waiting);
            self.serve(inline);
            return;
        }
        // A thread that is awake takes it sooner than one that is woken, unless it is not alone in waiting.
        if waiting.awake == 0 || waiting.jobs.len() > waiting.awake {
            drop(waiting);
            self.filled.notify_one();
        }
    }

    /// Works until the readers are closed. Run by each thread.
    pub(super) fn work(&self) {
        let mut db = None;
        while self.wait() {
            if catch_unwind(AssertUnwindSafe(|| self.serve(&mut db))).is_err() {
                tracing::error!("a read panicked");
                db = None;
            }
            self.waiting.lock().awake -= 1;
        }
    }

    /// Sleeps until there is something to do; false when the readers are closed.
    fn wait(&self) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() && !waiting.closed {
            self.filled.wait(&mut waiting);
        }
        waiting.awake += 1;
        !waiting.closed
    }

    /// Does what waits, in one transaction if all goes well. A connection that does not look sound is dropped.
    fn serve(&self, slot: &mut Option<Connection>) {
        let Some((first, horizon)) = ({
            let mut waiting = self.waiting.lock();
            let horizon = waiting.next;
            waiting.jobs.pop_front().map(|job| (job, horizon))
        }) else {
            return;
        };
        let begun = slot
            .take()
            .map_or_else(|| self.place.reader(), Ok)
            .and_then(|db| {
                db.prepare_cached("BEGIN")?.execute([])?;
                Ok(db)
            });
        let db = match begun {
            Ok(db) => db,
            Err(error) => {
                first(Err(error));
                return;
            }
        };
        let mut next = Some(first);
        while let Some(job) = next {
            if !job(Ok(&db)) {
                return;
            }
            let mut waiting = self.waiting.lock();
            next = (waiting.first() < horizon)
                .then(|| waiting.jobs.pop_front())
                .flatten();
        }
        let ended = db
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]));
        *slot = ended.is_ok().then_some(db);
    }

    /// From now on reads use no other threads.
    #[cfg(any(test, fuzzing))]
    pub(super) fn read_inline(&self) {
        *self.inline.lock() = Some(None);
    }

    /// Lets nothing more run, and ends the threads.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        let dropped = std::mem::take(&mut waiting.jobs);
        drop(waiting);
        drop(dropped);
        self.filled.notify_all();
        #[cfg(any(test, fuzzing))]
        self.inline.lock().take();
    }
}

/// What the caller is told.
fn told(failure: Failure) -> StoreError {
    match failure {
        Failure::Refused(error) => error,
        Failure::Broken(error) => {
            tracing::error!(%error, "a read failed");
            unavailable(&error)
        }
    }
}
