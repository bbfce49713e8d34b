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
const LONG: i64 = if cfg!(test) { 256 } else { 16_384 };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::Durability;

    /// A writer that never pauses, and the thread's rounds between its transactions.
    struct Busy {
        place: Place,
        writer: Connection,
        mover: Option<Connection>,
        checkpoints: Checkpoints,
    }

    impl Busy {
        fn new(dir: &tempfile::TempDir) -> Self {
            let place = Place::open(dir.path(), Durability::Process).unwrap();
            let writer = place.writer().unwrap();
            writer.execute_batch("CREATE TABLE filler (x)").unwrap();
            Self {
                place,
                writer,
                mover: None,
                checkpoints: Checkpoints::new(),
            }
        }

        /// Writes about 20 pages in a transaction during which the thread has its round, as happens while messages pour in. Returns the
        /// pages in the log.
        fn work(&mut self) -> i64 {
            self.writer
                .execute_batch("BEGIN IMMEDIATE; INSERT INTO filler VALUES (zeroblob(80000))")
                .unwrap();
            let moved = self.checkpoints.round(&mut self.mover, &self.place).unwrap();
            self.checkpoints.pages.store(moved.pages, Ordering::Relaxed);
            self.writer.execute_batch("COMMIT").unwrap();
            self.checkpoints.bound_log(&self.writer);
            moved.pages
        }
    }

    #[test]
    fn the_log_begins_anew_however_busy_the_writer_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut busy = Busy::new(&dir);
        let longest = (0..100).map(|_| busy.work()).max();
        assert!(longest > Some(LONG) && longest < Some(LONG + 64), "{longest:?}");
    }

    #[test]
    fn a_reader_that_stays_delays_it_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut busy = Busy::new(&dir);
        busy.work();
        let reader = busy.place.reader().unwrap();
        reader
            .execute_batch("BEGIN; SELECT count(*) FROM filler")
            .unwrap();
        let longest = (0..30).map(|_| busy.work()).max();
        assert!(longest > Some(LONG + 64), "{longest:?}");
        let tries = busy.checkpoints.long.load(Ordering::Relaxed);
        assert!(tries >= 2 * LONG, "it is not tried, and waited for, each time");
        reader.execute_batch("COMMIT").unwrap();
        let shortest = (0..100).map(|_| busy.work()).min();
        assert!(shortest < Some(LONG), "{shortest:?}");
    }
}
