//! Moves the WAL into the database, on a thread and a connection of its own, so that no message waits for it.
//!
//! SQLite restarts its WAL only when all of it was moved and nobody reads an old part of it. While messages
//! arrive without a pause, the thread alone never achieves that. When the WAL is long, the writer therefore
//! moves the small rest between two transactions, and waits a moment for readers. If another program's open
//! transaction prevents that, it is tried again when the WAL has doubled.
//!
//! Until it is restarted, the WAL still contains deleted and recalled text. The writer therefore empties it
//! soon after a deletion or recall.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::open::{BUSY, DataDirectory};
use super::watchers::Watchers;

/// Time between two rounds of the thread.
const EVERY: Duration = Duration::from_millis(300);
/// Number of pages in the WAL (64 MiB) from which the writer helps.
const LONG: i64 = if cfg!(test) { 256 } else { 16_384 };
/// Rounds of the thread without a pause while the WAL is long. Each leaves less for the writer.
const ROUNDS: u32 = 3;
/// How long the writer waits for readers of old parts of the WAL.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long deleted data may stay in the WAL, so that several deletions need only one emptying.
const ERASE: Duration = Duration::from_millis(500);
/// The longest time until emptying is retried, while a reader uses the WAL.
const ERASE_AGAIN: Duration = Duration::from_secs(30);

/// The state that the writer and the thread share.
pub(super) struct Checkpoints {
    dirty: AtomicBool,
    /// Pages in the WAL when the thread last looked; 0 after the writer has moved them.
    pages: AtomicI64,
    /// Number of pages from which the writer helps.
    long: AtomicI64,
    /// When the WAL must be emptied, and the time until a retry.
    erase: Mutex<Option<(Instant, Duration)>>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Checkpoints {
    pub(super) fn new() -> Self {
        Self {
            dirty: AtomicBool::new(true),
            pages: AtomicI64::new(0),
            long: AtomicI64::new(LONG),
            erase: Mutex::new(None),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        }
    }

    /// Called after a commit: the WAL has new content.
    pub(super) fn committed(&self) {
        self.dirty.store(true, Ordering::Relaxed);
    }

    /// Requests that deleted data is removed from the WAL.
    pub(super) fn erase_soon(&self) {
        let mut erase = self.erase.lock();
        if erase.is_none() {
            *erase = Some((Instant::now() + ERASE, ERASE * 2));
        }
    }

    /// Returns the time until [`Checkpoints::erase`] has something to do.
    pub(super) fn erase_wait(&self) -> Option<Duration> {
        let due = *self.erase.lock();
        due.map(|(at, _)| at.saturating_duration_since(Instant::now()))
    }

    /// Empties the WAL, if it is time and the writer has a connection. Called by the writer.
    pub(super) fn erase(&self, db: Option<&Connection>, place: &DataDirectory) {
        if self.erase_wait().is_none_or(|wait| !wait.is_zero()) {
            return;
        }
        let emptied = db.map_or(Ok(NOTHING), |db| patiently(db, place, "TRUNCATE"));
        let is_empty = emptied.map(|moved| moved.complete).unwrap_or_else(|error| {
            tracing::warn!(%error, "deleted data is still in the store's write-ahead log; emptying it is retried");
            false
        });
        let mut erase = self.erase.lock();
        let again = erase.map_or(ERASE, |(_, again)| again);
        *erase = (!is_empty).then(|| (Instant::now() + again, (again * 2).min(ERASE_AGAIN)));
    }

    /// Moves the rest of a long WAL. Called by the writer between two transactions.
    pub(super) fn bound_log(&self, db: &Connection, place: &DataDirectory) {
        let pages = self.pages.swap(0, Ordering::Relaxed);
        if pages < self.long.load(Ordering::Relaxed) {
            return;
        }
        let long = match patiently(db, place, "RESTART") {
            Ok(Moved { complete: true, .. }) => LONG,
            Ok(_) => pages * 2,
            Err(error) => {
                tracing::warn!(%error, pages, "the store's write-ahead log cannot be shortened at present");
                pages * 2
            }
        };
        self.long.store(long, Ordering::Relaxed);
    }

    /// Runs the thread. Between its rounds it looks for settings that commands have changed.
    pub(super) fn run(&self, place: &DataDirectory, watchers: &Watchers) {
        let mut db = None;
        let mut lost = false;
        let mut stop = self.stop.lock();
        while !*stop {
            self.stopped.wait_for(&mut stop, EVERY);
            if *stop || look(place, &mut lost) {
                continue;
            }
            parking_lot::MutexGuard::unlocked(&mut stop, || {
                if let Err(error) = connected(&mut db, place).and_then(|db| watchers.look(db)) {
                    tracing::warn!(%error, "changes of settings could not be read from the store");
                    db = None;
                }
                if !self.dirty.swap(false, Ordering::Relaxed) {
                    return;
                }
                match self.round(&mut db, place) {
                    Ok(moved) => self.pages.store(moved.pages, Ordering::Relaxed),
                    Err(error) => {
                        // The WAL still has everything, and the next round tries again.
                        tracing::warn!(%error, "the store's write-ahead log could not be moved into the database");
                        self.dirty.store(true, Ordering::Relaxed);
                        db = None;
                    }
                }
            });
        }
    }

    /// Ends the thread after its present round.
    pub(super) fn stop(&self) {
        *self.stop.lock() = true;
        self.stopped.notify_all();
    }

    fn round(&self, db: &mut Option<Connection>, place: &DataDirectory) -> rusqlite::Result<Moved> {
        let db = connected(db, place)?;
        let rounds = || {
            let mut moved = checkpoint(db, "PASSIVE")?;
            for _ in 1..ROUNDS {
                if moved.pages >= LONG {
                    moved = checkpoint(db, "PASSIVE")?;
                }
            }
            Ok(moved)
        };
        place.moving(BUSY, rounds).unwrap_or(Ok(NOTHING))
    }
}

fn connected<'a>(
    db: &'a mut Option<Connection>,
    place: &DataDirectory,
) -> rusqlite::Result<&'a mut Connection> {
    match db {
        Some(db) => Ok(db),
        None => Ok(db.insert(place.checkpointer()?)),
    }
}

/// Returns whether the files of the store are missing. Logs once when they are missing, and once when they
/// are back.
fn look(place: &DataDirectory, lost: &mut bool) -> bool {
    let is_lost = place.lost().is_some();
    if is_lost && !*lost {
        tracing::error!(
            "the files of the store were deleted, moved or replaced while the server runs: messages are refused with 503. \
             Put them back where they were, or stop the server and restore a backup (`mynah restore`)"
        );
    } else if !is_lost && *lost {
        tracing::info!("the files of the store are back");
    }
    *lost = is_lost;
    is_lost
}

/// Called when the store is closed: moves the WAL into the database and deletes it. Returns whether that was
/// possible.
pub(super) fn finish(db: &Connection, place: &DataDirectory) -> bool {
    match place.moving(BUSY, || checkpoint(db, "TRUNCATE")) {
        Some(Ok(moved)) => moved.complete,
        None => false,
        Some(Err(error)) => {
            tracing::warn!(%error, "the store's write-ahead log could not be moved into the database; the next start uses it");
            false
        }
    }
}

/// Nothing was moved, because another thread is doing so.
const NOTHING: Moved = Moved {
    complete: false,
    pages: 0,
};

/// Makes a checkpoint that delays the writer only for a moment.
fn patiently(db: &Connection, place: &DataDirectory, mode: &str) -> rusqlite::Result<Moved> {
    let moved = place.moving(PATIENCE, || {
        let moved = db.busy_timeout(PATIENCE).and_then(|()| checkpoint(db, mode));
        db.busy_timeout(BUSY).and(moved)
    });
    moved.unwrap_or(Ok(NOTHING))
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
    use crate::Durability;

    /// A writer that never pauses, with rounds of the thread between its transactions.
    struct Busy {
        place: DataDirectory,
        writer: Connection,
        mover: Option<Connection>,
        checkpoints: Checkpoints,
    }

    impl Busy {
        fn new(dir: &tempfile::TempDir) -> Self {
            let place = DataDirectory::open(dir.path(), Durability::Process).unwrap();
            let writer = place.writer().unwrap();
            writer.execute_batch("CREATE TABLE filler (x)").unwrap();
            Self {
                place,
                writer,
                mover: None,
                checkpoints: Checkpoints::new(),
            }
        }

        /// Writes about 20 pages in a transaction during which the thread has its round, as happens under
        /// load. Returns the number of pages in the WAL.
        fn work(&mut self) -> i64 {
            self.writer
                .execute_batch("BEGIN IMMEDIATE; INSERT INTO filler VALUES (zeroblob(80000))")
                .unwrap();
            let moved = self.checkpoints.round(&mut self.mover, &self.place).unwrap();
            self.checkpoints.pages.store(moved.pages, Ordering::Relaxed);
            self.writer.execute_batch("COMMIT").unwrap();
            self.checkpoints.bound_log(&self.writer, &self.place);
            moved.pages
        }
    }

    #[test]
    fn the_wal_is_restarted_however_busy_the_writer_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut busy = Busy::new(&dir);
        let longest = (0..100).map(|_| busy.work()).max();
        assert!(longest > Some(LONG) && longest < Some(LONG + 64), "{longest:?}");
    }

    #[test]
    fn a_long_read_delays_the_restart_until_it_ends() {
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
