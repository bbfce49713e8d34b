//! SQLite's errors, sorted by what is to be done about them.

use mynah_store::StoreError;
use rusqlite::{Error, ErrorCode, ffi};

/// Why an operation inside a transaction did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is refused; the transaction goes on without it.
    Refused(StoreError),
    /// The database failed; the whole transaction is given up.
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

/// The error that callers of a failed read or write get.
pub(super) fn unavailable(error: &Error) -> StoreError {
    let what = match error.sqlite_error_code() {
        _ if is_full(error) => return full(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            format!("its file is damaged; restore a backup ({error})")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds its file; close that program".to_owned()
        }
        _ => error.to_string(),
    };
    StoreError::Unavailable(what)
}

/// The error of a disk that is full.
pub(super) fn full() -> StoreError {
    StoreError::Unavailable("the disk is full; make room".to_owned())
}

/// There is no room on the disk: for the file, or for what SQLite keeps beside it.
pub(super) fn is_full(error: &Error) -> bool {
    let extended = error.sqlite_extended_error_code();
    error.sqlite_error_code() == Some(ErrorCode::DiskFull) || extended == Some(ffi::SQLITE_IOERR_SHMSIZE)
}

/// The connection is as good as before once the transaction is rolled back.
pub(super) fn leaves_connection_usable(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// The answer after [`Store::close`](mynah_store::Store::close).
pub(super) fn stopped() -> StoreError {
    StoreError::Unavailable("it is stopped".to_owned())
}
