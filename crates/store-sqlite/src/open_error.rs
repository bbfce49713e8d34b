//! The errors of opening a store. Invariant: each message names the file, and says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be created or written.
    #[error(
        "cannot use {} for the store: {why}; make it writable for the user that the server runs as, \
         or name another directory (store.path)",
        path.display()
    )]
    Directory {
        /// The directory, or a file in it.
        path: PathBuf,
        /// The error of the system.
        why: io::Error,
    },
    /// Something must be written before the store can be used, and the disk is full.
    #[error("the disk of {} is full; free some space and start again", path.display())]
    Full {
        /// The file or the directory.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error(
        "the store directory {} is in use by another process; stop that one or name another directory (store.path)",
        path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The file is not a store of Mynah.
    #[error(
        "{} is not a Mynah store; move it away or name another directory (store.path)",
        file.display()
    )]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// The store was written by a newer version of the program.
    #[error(
        "{} has format {found}, but this program supports formats up to {known}; use the newer program that has written it",
        file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// The version of its format.
        found: i32,
        /// The newest version of the format that this program supports.
        known: i32,
    },
    /// The format of the database was never released.
    #[error(
        "{} has format {found}, which was never released, and this program cannot read it; \
         move it away or name another directory (store.path)",
        file.display()
    )]
    Unreleased {
        /// The file.
        file: PathBuf,
        /// The version of its format.
        found: i32,
    },
    /// The database is damaged.
    #[error("{} is damaged ({detail}); restore a backup, or move the file away to start with an empty store", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The path of the directory is that of a file.
    #[error("{} is not a directory; name another one (store.path or --data)", path.display())]
    File {
        /// The path.
        path: PathBuf,
    },
    /// There is a WAL that does not belong to the database beside it.
    #[error(
        "{log} was left by an earlier run of the server, and {file} was replaced since then: the two do not belong together. \
         To use the copy that was put in place, move {log} away and start again; next time use `mynah restore`. \
         If nobody has replaced {file}, move {witness} away instead",
        log = log.display(), file = file.display(), witness = witness.display()
    )]
    Leftover {
        /// The database.
        file: PathBuf,
        /// The WAL.
        log: PathBuf,
        /// The witness, which records to which database the WAL belongs.
        witness: PathBuf,
    },
    /// There is a WAL beside a backup, which has none.
    #[error(
        "{log} was left by an earlier run of the server, and {file} is a backup that was put in place since then: the \
         two do not belong together. To use the backup, move {log} away and try again; next time use `mynah restore`",
        log = log.display(), file = file.display()
    )]
    Backup {
        /// The database.
        file: PathBuf,
        /// The WAL.
        log: PathBuf,
    },
    /// The store was copied into PostgreSQL.
    #[error(
        "the store of this directory was moved to PostgreSQL: set store.url. To use the directory as it was before, \
         remove {}",
        file.display()
    )]
    Moved {
        /// The file that says so.
        file: PathBuf,
    },
    /// The system could not start the threads.
    #[error("cannot start the store's threads: {0}")]
    Threads(io::Error),
    /// Another error of SQLite.
    #[error("cannot open {}: {why}", file.display())]
    Database {
        /// The file.
        file: PathBuf,
        /// The error of SQLite.
        why: rusqlite::Error,
    },
}

impl OpenError {
    /// Returns the error for a system error with this path.
    pub(super) fn of(path: &Path, why: io::Error) -> Self {
        let path = path.to_owned();
        match why.kind() {
            io::ErrorKind::StorageFull => Self::Full { path },
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Self::File { path },
            _ => Self::Directory { path, why },
        }
    }
}
