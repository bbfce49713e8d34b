//! Why a store cannot be opened. Invariant: each sentence names the file, and says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a store could not be opened; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or written.
    #[error(
        "cannot use {} for the store: {why}; make it writable for the user that the server runs as, \
         or name another directory (store.path)",
        path.display()
    )]
    Directory {
        /// The directory, or a file in it.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Something has to be written before the store can be used, and there is no room for it.
    #[error("there is no room on the disk of {}; make room and start again", path.display())]
    Full {
        /// The file or the directory.
        path: PathBuf,
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
    /// Its format was never released.
    #[error(
        "{} has format {found}, which was never released, and this program cannot read it; \
         move it away or name another directory (store.path)",
        file.display()
    )]
    Unreleased {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: i32,
    },
    /// Its pages contradict each other.
    #[error("{} is damaged ({detail}); restore a backup of it, or move it away to begin anew", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The path of the directory leads to a file.
    #[error("{} is not a directory; name another one (store.path or --data)", path.display())]
    File {
        /// The path.
        path: PathBuf,
    },
    /// A log lies beside a database that it does not belong to.
    #[error(
        "{log} was left by an earlier run of the server, and {file} was replaced since then: the two do not belong together. \
         To use the copy that was put in place, move {log} away and start again; next time use `mynah restore`. \
         If nobody has replaced {file}, move {witness} away instead",
        log = log.display(), file = file.display(), witness = witness.display()
    )]
    Leftover {
        /// The database.
        file: PathBuf,
        /// The log.
        log: PathBuf,
        /// The file that records to which database the log belongs.
        witness: PathBuf,
    },
    /// A log lies beside a backup, which has none.
    #[error(
        "{log} was left by an earlier run of the server, and {file} is a backup that was put in place since then: the \
         two do not belong together. To use the backup, move {log} away and try again; next time use `mynah restore`",
        log = log.display(), file = file.display()
    )]
    Backup {
        /// The database.
        file: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// The system gave no threads.
    #[error("cannot start the store's threads: {0}")]
    Threads(io::Error),
    /// Anything else.
    #[error("cannot open {}: {why}", file.display())]
    Database {
        /// The file.
        file: PathBuf,
        /// What SQLite said.
        why: rusqlite::Error,
    },
}

impl OpenError {
    /// The system refuses to make, read or write something.
    pub(super) fn of(path: &Path, why: io::Error) -> Self {
        let path = path.to_owned();
        match why.kind() {
            io::ErrorKind::StorageFull => Self::Full { path },
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Self::File { path },
            _ => Self::Directory { path, why },
        }
    }
}
