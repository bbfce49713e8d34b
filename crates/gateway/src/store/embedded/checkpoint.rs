//! Moving the log into the file: on a thread and a connection of its own, so that no message waits for it.
//!
//! SQLite begins its log anew only when all of it has been moved and nobody reads an old part. While messages pour in, the thread alone
//! never gets that far; so once the log is long, the writer moves the little rest between two transactions and waits a moment for
//! readers. What a foreign program's open transaction holds up is tried again when the log has doubled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::open::{BUSY, Place};

/// Between two rounds of the thread.
const EVERY: Duration = Duration::from_millis(300);
/// Pages of log (64 MiB) beyond which the writer helps.
const LONG: i64 = 16_384;
/// Rounds of the thread without a pause while the log is long: each leaves less for the writer.
const ROUNDS: u32 = 3;
/// How long the writer waits for readers of old parts of the log.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the writer and the thread tell each other.
pub(super) struct Checkpoints {
    dirty: AtomicBool,
    /// Pages in the log when the thread last looked; zero when the writer has dealt with it.
    pages: AtomicI64,
    /// Length from which the writer helps.
    long: AtomicI64,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Checkpoints {
    pub(super) fn new() -> Self {
        Self {
            dirty: AtomicBool::new(true),
            pages: AtomicI64::new(0),
            long: AtomicI64::new(LONG),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        }
    }

    /// There is something new in the log.
    pub(super) fn committed(&self) {
        self.dirty.store(true, Ordering::Relaxed);
    }

    /// The writer's part, between two transactions.
    pub(super) fn bound_log(&self, db: &Connection) {
        let pages = self.pages.swap(0, Ordering::Relaxed);
        if pages < self.long.load(Ordering::Relaxed) {
            return;
        }
        let restarted = db.busy_timeout(PATIENCE).and_then(|()| checkpoint(db, "RESTART"));
        let restarted = db.busy_timeout(BUSY).and(restarted);
        let long = match restarted {
            Ok(Moved { complete: true, .. }) => LONG,
            Ok(_) => pages * 2,
            Err(error) => {
                tracing::warn!(%error, pages, "the store's log cannot be shortened at present");
                pages * 2
            }
        };
        self.long.store(long, Ordering::Relaxed);
    }

    /// The thread.
    pub(super) fn run(self: Arc<Self>, place: &Place) {
        let mut db = None;
        let mut stop = self.stop.lock();
        while !*stop {
            self.stopped.wait_for(&mut stop, EVERY);
            if *stop || !self.dirty.swap(false, Ordering::Relaxed) {
                continue;
            }
            parking_lot::MutexGuard::unlocked(&mut stop, || match self.round(&mut db, place) {
                Ok(moved) => self.pages.store(moved.pages, Ordering::Relaxed),
                Err(error) => {
                    // The log keeps everything; the next round tries again.
                    tracing::warn!(%error, "the store's log could not be moved into its file");
                    self.dirty.store(true, Ordering::Relaxed);
                    db = None;
                }
            });
        }
    }

    /// Ends the thread after its present round.
    pub(super) fn stop(&self) {
        *self.stop.lock() = true;
        self.stopped.notify_all();
    }

    fn round(&self, db: &mut Option<Connection>, place: &Place) -> rusqlite::Result<Moved> {
        let db = match db {
            Some(db) => db,
            None => db.insert(place.checkpointer()?),
        };
        let mut moved = checkpoint(db, "PASSIVE")?;
        for _ in 1..ROUNDS {
            if moved.pages >= LONG {
                moved = checkpoint(db, "PASSIVE")?;
            }
        }
        Ok(moved)
    }
}

/// When the store is closed: leaves one file without a log.
pub(super) fn finish(db: &Connection) {
    if let Err(error) = checkpoint(db, "TRUNCATE") {
        tracing::warn!(%error, "the store's log stays beside its file; the next start uses it");
    }
}

struct Moved {
    complete: bool,
    pages: i64,
}

fn checkpoint(db: &Connection, mode: &str) -> rusqlite::Result<Moved> {
    db.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?
        .query_row([], |row| {
            Ok(Moved {
                complete: row.get::<_, i64>(0)? == 0,
                pages: row.get(1)?,
            })
        })
}
