//! Opening the data directory: its lock, its database, and what can be wrong with either.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mynah_store::{Durability, StoreError, private};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::epoch::{self, Location};
use super::failure::is_full;
pub use super::open_error::OpenError;
use super::schema;
use super::witness::{self, HistoryState, Identity, Record, Stamp, Witness};

/// The name of the database in the data directory.
pub(super) const FILE: &str = "mynah.db";
/// The names of SQLite's write-ahead log (WAL), and of its index.
pub(super) const LOG: &str = "mynah.db-wal";
pub(super) const INDEX: &str = "mynah.db-shm";
/// The name of the lock file, which is locked by the process that has the store open.
pub(super) const LOCK: &str = "mynah.lock";
/// The name of a file that says that the store was copied elsewhere, and must not be used any more.
const MOVED: &str = "moved-to-postgresql";
/// Databases up to this size are checked page by page when they are opened; of larger ones only the length is
/// checked.
const CHECKED_BYTES: u64 = 64 << 20;
/// How long a connection waits for another program that locks the database.
pub(super) const BUSY: Duration = Duration::from_secs(2);
/// Length of a WAL without content.
const LOG_HEADER: u64 = 32;
/// The offset of the version bytes in SQLite's file format, and their values for a database without a
/// WAL.
const VERSIONS: u64 = 18;
const NO_LOG: [u8; 2] = [1, 1];

/// A locked data directory, and the way to connect to its database.
#[derive(Debug)]
pub(super) struct DataDirectory {
    file: PathBuf,
    log: PathBuf,
    durability: Durability,
    lock: File,
    witness: Witness,
    /// Which file the database was when it was opened.
    identity: Identity,
    epoch: String,
    /// Whether the writer has a connection, so that SQLite keeps a WAL.
    expects_log: AtomicBool,
    /// Identifies the WAL to which the writer writes.
    log_identity: Mutex<Option<Identity>>,
    /// Whether the disk was too full to complete the start.
    full: bool,
    /// Held while the WAL is moved into the database.
    moving: Mutex<()>,
}

impl DataDirectory {
    /// Creates and locks the directory, migrates the database to the current version, checks it, and decides
    /// which history it contains. Fails if the store was moved to PostgreSQL.
    pub(super) fn open(path: &Path, durability: Durability) -> Result<Self, OpenError> {
        let file = path.join(MOVED);
        match file.exists() {
            true => Err(OpenError::Moved { file }),
            false => Self::open_moved(path, durability),
        }
    }

    /// The same for a store that may have been moved.
    pub(super) fn open_moved(path: &Path, durability: Durability) -> Result<Self, OpenError> {
        let unusable = |why| OpenError::of(path, why);
        let lock = lock(path)?;
        private::tighten(path, &[FILE, LOG, INDEX, LOCK, witness::FILE]);
        let file = path.join(FILE);
        // SQLite creates its other files with the mode of this one.
        let identity = private::open(&file).and_then(|file| file.metadata());
        let identity = identity.map_err(|why| OpenError::of(&file, why))?;
        let beside = path.join(witness::FILE);
        let (witness, record) = Witness::open(&beside).map_err(|why| OpenError::of(&beside, why))?;
        let mut place = Self {
            log: path.join(LOG),
            file,
            durability,
            lock,
            witness,
            identity: Identity::of(&identity),
            epoch: String::new(),
            expects_log: AtomicBool::new(false),
            log_identity: Mutex::new(None),
            full: false,
            moving: Mutex::new(()),
        };
        place.check_log(record.as_ref())?;
        // From here on the WAL may be moved into the database, perhaps only a part of it.
        if record.is_some() {
            place.witness.stamp(None);
        }
        place
            .prepare(record.as_ref())
            .map_err(|unfit| place.unfit(unfit))?;
        place.stamp().map_err(unusable)?;
        if durability == Durability::Power {
            sync_entries(path).map_err(unusable)?;
        }
        Ok(place)
    }

    /// Writes down that the store was moved to PostgreSQL.
    pub(super) fn mark_moved(&self) -> Result<(), OpenError> {
        let path = self.file.with_file_name(MOVED);
        let mark = || {
            private::open(&path)?.sync_all()?;
            sync_entries(self.file.parent().unwrap_or(Path::new(".")))
        };
        mark().map_err(|why| OpenError::of(&path, why))
    }

    /// Returns the epoch of the history in the database.
    pub(super) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Returns whether the disk was full when the store was opened.
    pub(super) fn was_full(&self) -> bool {
        self.full
    }

    /// Returns the witness, which records the newest state of the directory.
    pub(super) fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Returns an error if the files are no longer those that were opened: writes would then be lost.
    pub(super) fn lost(&self) -> Option<StoreError> {
        let is_file = |path, known: Identity| {
            std::fs::metadata(path).is_ok_and(|now: std::fs::Metadata| Identity::of(&now).is(known))
        };
        let log = self
            .log_identity
            .lock()
            .filter(|_| self.expects_log.load(Ordering::Relaxed));
        let is_there =
            is_file(&self.file, self.identity) && log.is_none_or(|known| is_file(&self.log, known));
        (!is_there).then(|| {
            StoreError::Unavailable(
                "its files were deleted, moved or replaced while the server ran; see the log of the server"
                    .to_owned(),
            )
        })
    }

    /// Sets whether the writer has a connection. SQLite deletes the WAL with the last connection.
    pub(super) fn expect_log(&self, expected: bool) {
        self.expects_log.store(expected, Ordering::Relaxed);
    }

    /// Records which file the WAL is, after the writer has opened it. If it is deleted, a connection that is
    /// opened later creates another file of that name.
    pub(super) fn know_log(&self) {
        let log = std::fs::metadata(&self.log);
        *self.log_identity.lock() = log.ok().map(|log| Identity::of(&log));
    }

    /// Moves the WAL into the database by `checkpoint`. Returns `None` if another thread is doing so and has
    /// not finished after `patience`.
    pub(super) fn moving<T>(&self, patience: Duration, checkpoint: impl FnOnce() -> T) -> Option<T> {
        let _alone = self.moving.try_lock_for(patience)?;
        self.witness.stamp(None);
        let moved = checkpoint();
        if let Err(error) = self.stamp() {
            tracing::debug!(%error, "the state of {FILE} cannot be read");
        }
        Some(moved)
    }

    /// Records the present state of the database in the witness.
    fn stamp(&self) -> io::Result<()> {
        let now = std::fs::metadata(&self.file)?;
        self.witness.stamp(Some(Stamp::of(&now)));
        Ok(())
    }

    /// Refuses a WAL that a crash has left if the database was replaced since then: SQLite would mix the two.
    fn check_log(&self, record: Option<&Record>) -> Result<(), OpenError> {
        refuse_log_of_backup(&self.file, &self.log)?;
        let Some(record) = record.filter(|record| !record.closed) else {
            return Ok(());
        };
        // In a copy of the whole directory the WAL belongs to the database.
        let is_at_home = self.witness.identity().is_ok_and(|own| own.is(record.itself));
        if !has_log(&self.log) || !is_at_home {
            return Ok(());
        }
        // After a power failure the time of the last write may be wrong, but not the identity of the file.
        let touched = record.boot == witness::boot()
            && record
                .stamp
                .is_some_and(|stamp| std::fs::metadata(&self.file).is_ok_and(|now| Stamp::of(&now) != stamp));
        if touched || !record.database.is(self.identity) {
            return Err(OpenError::Leftover {
                file: self.file.clone(),
                log: self.log.clone(),
                witness: self.file.with_file_name(witness::FILE),
            });
        }
        Ok(())
    }

    /// Opens a connection that writes.
    pub(super) fn writer(&self) -> rusqlite::Result<Connection> {
        // With secure_delete, deleted and recalled data is overwritten with zeros. journal_size_limit is the
        // size to which the WAL is truncated when it is restarted; checkpoint.rs says when that happens.
        self.connect(
            "PRAGMA journal_mode = wal; PRAGMA cache_size = -16384; PRAGMA secure_delete = true;
             PRAGMA journal_size_limit = 67108864; PRAGMA wal_autocheckpoint = 0",
        )
    }

    /// Opens a connection that reads.
    pub(super) fn reader(&self) -> rusqlite::Result<Connection> {
        self.connect("PRAGMA query_only = true; PRAGMA cache_size = -2048")
    }

    /// Opens a connection that moves the WAL into the database.
    pub(super) fn checkpointer(&self) -> rusqlite::Result<Connection> {
        self.connect("PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -256")
    }

    /// Releases the lock of the directory.
    pub(super) fn unlock(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the store's lock could not be released");
        }
    }

    /// Turns an error of SQLite into one that names the file and says what to do.
    pub(super) fn explain(&self, error: rusqlite::Error) -> OpenError {
        let file = self.file.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => OpenError::Foreign { file },
            Some(ErrorCode::DatabaseCorrupt) => self.corrupt(error.to_string()),
            _ if is_full(&error) => OpenError::Full { path: file },
            _ => OpenError::Database { file, why: error },
        }
    }

    fn connect(&self, settings: &str) -> rusqlite::Result<Connection> {
        // Each connection is used by one thread at a time.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.file, flags)?;
        db.busy_timeout(BUSY)?;
        db.set_prepared_statement_cache_capacity(64);
        let synchronous = match self.durability {
            Durability::Power => "full",
            Durability::Process => "normal",
        };
        db.pragma_update(None, "synchronous", synchronous)?;
        db.execute_batch(settings)?;
        Ok(db)
    }

    fn prepare(&mut self, record: Option<&Record>) -> Result<(), Unfit> {
        let (db, file, known) = (self.connect("")?, self.file.clone(), schema::VERSION);
        let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let id: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let found: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if tables > 0 && id != schema::APPLICATION_ID || found < 0 {
            return Err(OpenError::Foreign { file }.into());
        }
        if found > known {
            return Err(OpenError::Newer { file, found, known }.into());
        }
        if !schema::is_known(found) {
            return Err(OpenError::Unreleased { file, found }.into());
        }
        db.pragma_update(None, "journal_mode", "wal")?;
        if tables > 0 {
            self.check(&db)?;
        }
        schema::migrate(&db, found)?;
        self.begin(&db, record)
    }

    /// Decides which history this is, and stores its epoch, first in the witness and then in the database. If
    /// the process ends in between, the next start finds two epochs and creates a third one, which no client
    /// has seen either.
    fn begin(&mut self, db: &Connection, record: Option<&Record>) -> Result<(), Unfit> {
        let found = epoch::find(db)?;
        let location = Location {
            database: self.identity,
            boot: witness::boot(),
        };
        let change = epoch::change(record, &found, &location);
        let same = found.epoch.clone().filter(|_| change.is_none());
        self.epoch = same.unwrap_or_else(epoch::fresh);
        self.witness.begin(Record {
            epoch: self.epoch.clone(),
            history: found.history,
            database: location.database,
            itself: self.witness.identity()?,
            boot: location.boot,
            may_lose: self.durability == Durability::Process,
            ..Record::default()
        })?;
        epoch::write(db, &found, &self.epoch, change)?;
        if found.epoch.is_none() && record.is_some_and(|record| record.history != HistoryState::default()) {
            tracing::warn!(
                "this data directory has contained a store, but {} is missing or empty: an empty store was created. \
                 If you do not want that, stop the server and use `mynah restore`",
                self.file.display()
            );
        }
        if let Some(change) = change {
            tracing::warn!(
                epoch = self.epoch,
                "{}. The store gets a new epoch: clients drop their positions and receive all its messages",
                change.sentence()
            );
        }
        Ok(())
    }

    /// Looks for damage: a file that is shorter than its header says, and, unless that takes too long,
    /// inconsistent pages.
    fn check(&mut self, db: &Connection) -> Result<(), Unfit> {
        // The WAL is moved into the database, so that its length can be compared.
        let moved = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            Ok(row.get::<_, i64>(0)? == 0)
        });
        let complete = match moved {
            Ok(complete) => complete,
            Err(error) if is_full(&error) => {
                tracing::error!(%error, "the disk is full: the store can be read, but nothing can be written until there is space");
                self.full = true;
                false
            }
            Err(error) => return Err(error.into()),
        };
        let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        let whole = pragma("page_count")? * pragma("page_size")?;
        let bytes = std::fs::metadata(&self.file).map_or(0, |meta| meta.len());
        if complete && bytes < whole {
            let detail = format!("{bytes} bytes are left of {whole}");
            return Err(self.corrupt(detail).into());
        }
        if bytes <= CHECKED_BYTES {
            let detail: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if detail != "ok" {
                return Err(self.corrupt(detail).into());
            }
        }
        Ok(())
    }
}

/// Why [`DataDirectory::prepare`] has failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Unfit {
    Open(#[from] OpenError),
    Database(#[from] rusqlite::Error),
    Io(#[from] io::Error),
}

impl DataDirectory {
    fn unfit(&self, unfit: Unfit) -> OpenError {
        match unfit {
            Unfit::Open(error) => error,
            Unfit::Database(error) => self.explain(error),
            Unfit::Io(why) => OpenError::of(self.file.parent().unwrap_or(Path::new(".")), why),
        }
    }

    fn corrupt(&self, detail: String) -> OpenError {
        let file = self.file.clone();
        OpenError::Corrupt { file, detail }
    }
}

/// Makes sure that a new directory and its new files survive a power failure.
fn sync_entries(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    // If the parent directory cannot be read, the store has not created anything in it.
    File::open(path.join("..")).map_or(Ok(()), |parent| parent.sync_all())
}

/// Creates the directory if it does not exist, and locks it.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let unusable = |why| OpenError::of(path, why);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(unusable)?;
    let lock = path.join(LOCK);
    let file = private::open(&lock).map_err(|why| OpenError::of(&lock, why))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(why)) => Err(unusable(why)),
    }
}

/// Returns whether the WAL has content.
fn has_log(log: &Path) -> bool {
    std::fs::metadata(log).is_ok_and(|log| log.len() > LOG_HEADER)
}

/// Refuses a WAL beside a backup: SQLite would mix the two. The header of a backup says that it has no WAL.
/// The header of a database that a server has used says the opposite, since before its first WAL was created.
pub(super) fn refuse_log_of_backup(file: &Path, log: &Path) -> Result<(), OpenError> {
    let mut versions = [0; 2];
    let read = File::open(file).and_then(|file| file.read_exact_at(&mut versions, VERSIONS));
    if has_log(log) && read.is_ok() && versions == NO_LOG {
        return Err(OpenError::Backup {
            file: file.to_owned(),
            log: log.to_owned(),
        });
    }
    Ok(())
}
