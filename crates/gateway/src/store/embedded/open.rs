//! Opening a store's directory: its lock, its file, and what may be wrong with either.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema;
use crate::config::Durability;

/// The database inside the store's directory.
const FILE: &str = "mynah.db";
/// Held for life by the process that has the store open.
const LOCK: &str = "mynah.lock";
/// Files up to this size are checked page by page when they are opened; of larger ones only the outline.
const CHECKED_BYTES: u64 = 64 << 20;
/// How long a connection waits for another program that holds the file.
pub(super) const BUSY: Duration = Duration::from_secs(2);

/// Why a store could not be opened; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or written.
    #[error(
        "cannot use the store directory {}: {source}; make it writable or name another one (store.path)",
        path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "the store directory {} is in use by another process; stop that one or name another directory (store.path)",
        path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It is not one of our files.
    #[error(
        "{} is not a Mynah store; move it away or name another directory (store.path)",
        file.display()
    )]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// A later program wrote it.
    #[error(
        "{} has format {found}, this program knows formats up to {known}; use the newer program that wrote it",
        file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// Its pages contradict each other.
    #[error("{} is damaged ({detail}); restore a backup of it, or move it away to begin anew", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The system gave no threads.
    #[error("cannot start the store's threads: {0}")]
    Threads(#[source] io::Error),
    /// Anything else.
    #[error("cannot open {}: {source}", file.display())]
    Database {
        /// The file.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// A locked directory, and how to connect to its file.
#[derive(Debug)]
pub(super) struct Place {
    file: PathBuf,
    durability: Durability,
    lock: File,
}

impl Place {
    /// Makes and locks the directory, brings the file to the current version, and checks it.
    pub(super) fn open(path: &Path, durability: Durability) -> Result<Self, OpenError> {
        let lock = lock(path)?;
        let place = Self {
            file: path.join(FILE),
            durability,
            lock,
        };
        place.prepare().map_err(|unfit| place.unfit(unfit))?;
        if durability == Durability::Power {
            sync_entries(path).map_err(|source| OpenError::Directory {
                path: path.to_owned(),
                source,
            })?;
        }
        Ok(place)
    }

    /// A connection that writes.
    pub(super) fn writer(&self) -> rusqlite::Result<Connection> {
        let db = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "cache_size", -(64 << 10))?;
        // What the log is cut to when it starts anew; checkpoint.rs says when that is.
        db.pragma_update(None, "journal_size_limit", 64 << 20)?;
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        Ok(db)
    }

    /// A connection that reads.
    pub(super) fn reader(&self) -> rusqlite::Result<Connection> {
        let db = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.pragma_update(None, "query_only", true)?;
        db.pragma_update(None, "cache_size", -(8 << 10))?;
        Ok(db)
    }

    /// A connection that moves the log into the file.
    pub(super) fn checkpointer(&self) -> rusqlite::Result<Connection> {
        let db = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.pragma_update(None, "cache_size", -256)?;
        Ok(db)
    }

    /// Lets another process have the directory.
    pub(super) fn unlock(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the store's lock could not be released");
        }
    }

    /// An error that names the file and says what to do.
    pub(super) fn explain(&self, error: rusqlite::Error) -> OpenError {
        let file = self.file.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => OpenError::Foreign { file },
            Some(ErrorCode::DatabaseCorrupt) => OpenError::Corrupt {
                file,
                detail: error.to_string(),
            },
            _ => OpenError::Database { file, source: error },
        }
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        // Every connection is used by one thread at a time.
        let db = Connection::open_with_flags(&self.file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(BUSY)?;
        db.set_prepared_statement_cache_capacity(64);
        let synchronous = match self.durability {
            Durability::Power => "full",
            Durability::Process => "normal",
        };
        db.pragma_update(None, "synchronous", synchronous)?;
        Ok(db)
    }

    fn prepare(&self) -> Result<(), Unfit> {
        let db = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let id: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let found: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if tables > 0 && id != schema::APPLICATION_ID || found < 0 {
            return Err(Unfit::Foreign);
        }
        if found > schema::VERSION {
            return Err(Unfit::Newer(found));
        }
        db.pragma_update(None, "journal_mode", "wal")?;
        if tables > 0 {
            self.check(&db)?;
        }
        schema::migrate(&db, found)?;
        Ok(())
    }

    /// Looks for damage: a file that is shorter than it says, and, unless that would take long, pages that contradict each other.
    fn check(&self, db: &Connection) -> Result<(), Unfit> {
        // What is still in the log goes into the file, so that its length can be compared.
        let complete: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            Ok(row.get::<_, i64>(0)? == 0)
        })?;
        let pages: u64 = db
            .pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))?
            .unsigned_abs();
        let page_bytes: u64 = db
            .pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?
            .unsigned_abs();
        let bytes = std::fs::metadata(&self.file).map_or(0, |meta| meta.len());
        if complete && bytes < pages * page_bytes {
            let detail = format!("{bytes} bytes are left of {}", pages * page_bytes);
            return Err(Unfit::Corrupt(detail));
        }
        if bytes <= CHECKED_BYTES {
            let detail: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if detail != "ok" {
                return Err(Unfit::Corrupt(detail));
            }
        }
        Ok(())
    }
}

/// What [`Place::prepare`] found.
enum Unfit {
    Foreign,
    Newer(i32),
    Corrupt(String),
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Place {
    fn unfit(&self, unfit: Unfit) -> OpenError {
        let file = self.file.clone();
        match unfit {
            Unfit::Foreign => OpenError::Foreign { file },
            Unfit::Newer(found) => OpenError::Newer {
                file,
                found,
                known: schema::VERSION,
            },
            Unfit::Corrupt(detail) => OpenError::Corrupt { file, detail },
            Unfit::Database(error) => self.explain(error),
        }
    }
}

/// Makes sure that a directory and a file that were just made are found again after a power cut.
fn sync_entries(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        File::open(path)?.sync_all()?;
        // Which may be one that we cannot read; then it is not one that we have made anything in.
        if let Ok(parent) = File::open(path.join("..")) {
            parent.sync_all()?;
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(unusable)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}
