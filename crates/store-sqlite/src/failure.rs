//! The errors of SQLite, grouped by what must be done about them.

use mynah_store::StoreError;
use rusqlite::{Error, ErrorCode, ffi};

/// Why an operation in a transaction has failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is refused. The transaction continues without it.
    Refused(StoreError),
    /// The database failed. The whole transaction is rolled back.
    Broken(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// Returns the error for the callers of a failed read or write.
pub(super) fn unavailable(error: &Error) -> StoreError {
    let what = match error.sqlite_error_code() {
        _ if is_full(error) => return full(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            format!("its file is damaged; restore a backup ({error})")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has locked its database; close that program".to_owned()
        }
        _ => error.to_string(),
    };
    StoreError::Unavailable(what)
}

/// Returns the error for a full disk.
pub(super) fn full() -> StoreError {
    StoreError::Unavailable("the disk is full; free some space".to_owned())
}

/// Returns whether there is no space on the disk for the database or for a file that SQLite keeps beside it.
pub(super) fn is_full(error: &Error) -> bool {
    let extended = error.sqlite_extended_error_code();
    error.sqlite_error_code() == Some(ErrorCode::DiskFull) || extended == Some(ffi::SQLITE_IOERR_SHMSIZE)
}

/// Returns whether the connection can be used again after the transaction was rolled back.
pub(super) fn leaves_connection_usable(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
