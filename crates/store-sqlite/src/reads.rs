//! Reads the store, with a few threads that each have a connection of their own, shared fairly by all
//! callers.
//!
//! Invariants: a read sees the state of one moment, which is not before the request. Reads that wait when a
//! transaction begins may share it; later ones may not, so that no transaction blocks the WAL for long. A
//! user with many reads waits behind its own reads only, and a read for which nobody waits any more is
//! skipped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mynah_store::ids::{TeamId, Uid};
use mynah_store::{StoreError, StoreFuture, fair};
use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::failure::{Failure, unavailable};
use super::open::DataDirectory;
use super::trim::Trim;

/// Number of reads that run at the same time.
pub(super) const READERS: usize = 4;
/// The maximum number of reads that may wait for one account. Further ones are refused.
const MOST_WAITING: usize = 1_024;

/// The account of a read, by which reads are scheduled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum For {
    /// A user, whoever requests the read.
    User(Uid),
    /// A team, whoever requests the read.
    Team(TeamId),
    /// The backend, which reads a conversation.
    Backend,
    /// The handling of push jobs.
    Jobs,
}

/// A read that waits for its turn.
trait Job: Send {
    /// Returns whether nobody waits for the result any more.
    fn is_over(&self) -> bool;
    fn run(self: Box<Self>, db: rusqlite::Result<&Connection>) -> Usable;
    fn refuse(self: Box<Self>, error: StoreError);
}

/// Whether the connection can be used again.
type Usable = bool;

struct Asked<T, F> {
    tell: oneshot::Sender<Result<T, StoreError>>,
    read: F,
}

impl<T, F> Job for Asked<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Failure> + Send,
{
    fn is_over(&self) -> bool {
        self.tell.is_closed()
    }

    fn run(self: Box<Self>, db: rusqlite::Result<&Connection>) -> Usable {
        if self.is_over() {
            return true;
        }
        let outcome = db.map_err(Failure::Broken).and_then(self.read);
        let usable = !matches!(outcome, Err(Failure::Broken(_)));
        // Nobody receives the result if the connection that asked for it has closed.
        let _ = self.tell.send(outcome.map_err(told));
        usable
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        let _ = self.tell.send(Err(error));
    }
}

/// A job and its number, which ascends in the order of arrival.
type Numbered = (u64, Box<dyn Job>);

#[derive(Default)]
struct Waiting {
    jobs: fair::Queue<For, Numbered>,
    /// The number of the next job.
    next: u64,
    /// The number of threads that are awake.
    awake: usize,
    closed: bool,
}

/// The reads that wait, and the threads that execute them.
pub(super) struct Readers {
    place: Arc<DataDirectory>,
    waiting: Mutex<Waiting>,
    filled: Condvar,
    /// If this is set, it runs each read in the thread that requests it.
    run_reads: Option<RunReads>,
}

/// Runs waiting reads with [`Readers::serve`].
pub(super) type RunReads = Box<dyn Fn(&Readers) + Send + Sync>;

impl Readers {
    /// Reads are run by threads, or by `run_reads` in the thread that requests them.
    pub(super) fn new(place: Arc<DataDirectory>, run_reads: Option<RunReads>) -> Self {
        Self {
            place,
            waiting: Mutex::default(),
            filled: Condvar::new(),
            run_reads,
        }
    }

    /// Runs `read` on a reading thread. Dropping the future cancels the read unless it has begun.
    pub(super) fn run<T, F>(self: &Arc<Self>, account: For, read: F) -> StoreFuture<'static, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let job = Box::new(Asked { tell, read });
        let readers = self.clone();
        Box::pin(async move {
            readers.push(account, job);
            told.await.unwrap_or_else(|_| Err(StoreError::stopped()))
        })
    }

    fn push(&self, account: For, job: Box<dyn Job>) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return;
        }
        let numbered = (waiting.next, job);
        waiting.next += 1;
        let is_over = |(_, job): &Numbered| job.is_over();
        if let Err((_, job)) = waiting.jobs.push(account, numbered, MOST_WAITING, is_over) {
            drop(waiting);
            let why = format!("{MOST_WAITING} reads for the same user are already waiting; try again later");
            job.refuse(StoreError::Unavailable(why));
            return;
        }
        if let Some(run_reads) = &self.run_reads {
            drop(waiting);
            run_reads(self);
            return;
        }
        // A thread that is awake takes the job sooner than one that must be woken, unless many jobs wait.
        if waiting.awake == 0 || waiting.jobs.len() > waiting.awake {
            drop(waiting);
            self.filled.notify_one();
        }
    }

    /// Works until the readers are closed. Each thread runs this.
    pub(super) fn work(&self) {
        let (mut db, mut trim) = (None, Trim::default());
        while let Some(woken) = self.wait(trim.wait()) {
            if woken {
                if catch_unwind(AssertUnwindSafe(|| self.serve(&mut db))).is_err() {
                    tracing::error!("a read panicked");
                    db = None;
                }
                self.waiting.lock().awake -= 1;
                trim.used(1);
            }
            if trim.is_due()
                && let Some(Err(error)) = db.as_ref().map(Connection::release_memory)
            {
                tracing::debug!(%error, "a reader's cached pages could not be freed");
            }
        }
    }

    /// Sleeps until there is work, and returns true; returns false after `most`, and `None` when the readers
    /// are closed.
    fn wait(&self, most: Option<Duration>) -> Option<bool> {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() && !waiting.closed {
            match most {
                None => self.filled.wait(&mut waiting),
                Some(most) if self.filled.wait_for(&mut waiting, most).timed_out() => {
                    if waiting.jobs.is_empty() && !waiting.closed {
                        return Some(false);
                    }
                }
                Some(_) => {}
            }
        }
        if waiting.closed {
            return None;
        }
        waiting.awake += 1;
        Some(true)
    }

    /// Runs waiting reads, in one transaction if they all succeed. A connection that may be broken is
    /// dropped.
    pub(super) fn serve(&self, slot: &mut Option<Connection>) {
        let Some((first, horizon)) = ({
            let mut waiting = self.waiting.lock();
            let horizon = waiting.next;
            waiting.jobs.pop().map(|(_, job)| (job, horizon))
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
                first.run(Err(error));
                return;
            }
        };
        let mut next = Some(first);
        while let Some(job) = next {
            if !job.run(Ok(&db)) {
                return;
            }
            let mut waiting = self.waiting.lock();
            let shares = waiting.jobs.first().is_some_and(|(number, _)| *number < horizon);
            next = shares.then(|| waiting.jobs.pop()).flatten().map(|(_, job)| job);
        }
        let ended = db
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]));
        *slot = ended.is_ok().then_some(db);
    }

    /// Returns the number of waiting reads.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().jobs.len()
    }

    /// Ends the threads and drops all waiting reads.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        let dropped = std::mem::take(&mut waiting.jobs);
        drop(waiting);
        drop(dropped);
        self.filled.notify_all();
    }
}

/// Returns the error for the caller.
fn told(failure: Failure) -> StoreError {
    match failure {
        Failure::Refused(error) => error,
        Failure::Broken(error) => {
            tracing::error!(%error, "a read failed");
            unavailable(&error)
        }
    }
}
