//! PostgreSQL's errors, grouped by what must be done about them.

use mynah_store::StoreError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// The error for callers after another node has taken over.
pub(super) const LOST: &str = "another node has taken over this database";

/// Why an operation did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is refused. The transaction continues without it.
    Refused(StoreError),
    /// PostgreSQL or the connection to it failed. The whole transaction is rolled back.
    Broken(Error),
    /// A row has an unexpected form, or an invariant does not hold.
    Defect(&'static str),
    /// PostgreSQL did not answer in time.
    Late,
    /// Another node has deleted the row of this one.
    Fenced,
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

impl Failure {
    /// Whether the same transaction may succeed if it is repeated at once: another node was faster, or the
    /// two waited for each other.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Broken(error) = self else { return false };
        [
            SqlState::UNIQUE_VIOLATION,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ]
        .iter()
        .any(|state| error.code() == Some(state))
    }

    /// Whether PostgreSQL's disk is full.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Broken(error) if error.code() == Some(&SqlState::DISK_FULL))
    }

    /// Whether the connection cannot be used again. PostgreSQL also ends connections with an error, for
    /// example when it is shut down.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Defect(_) | Self::Fenced => false,
            Self::Late => true,
            Self::Broken(error) => {
                let ended =
                    |state: &SqlState| state.code().starts_with("57P") || state.code().starts_with("08");
                let timed_out = [
                    SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                    SqlState::READ_ONLY_SQL_TRANSACTION,
                ];
                error.is_closed()
                    || error
                        .code()
                        .is_none_or(|state| ended(state) || timed_out.contains(state))
            }
        }
    }

    /// The error that callers get.
    pub(super) fn told(&self) -> StoreError {
        match self {
            Self::Refused(error) => error.clone(),
            Self::Broken(error) => StoreError::Unavailable(explain(error)),
            Self::Defect(what) => StoreError::Unavailable(format!("it has a defect: {what}")),
            Self::Late => {
                StoreError::Unavailable("PostgreSQL does not answer; see whether it is overloaded".into())
            }
            Self::Fenced => StoreError::Unavailable(LOST.into()),
        }
    }
}

/// The error in words. It contains no password and no value of a row.
pub(super) fn explain(error: &Error) -> String {
    let Some(told) = error.as_db_error() else {
        return unreachable(error);
    };
    let advice = match *told.code() {
        SqlState::DISK_FULL => return "PostgreSQL's disk is full; make room".to_owned(),
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            return "PostgreSQL is read-only (a standby?); name the primary in store.url".to_owned();
        }
        SqlState::INVALID_PASSWORD => "correct the user or the password in store.url",
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "correct the user in store.url, or allow it in pg_hba.conf"
        }
        SqlState::INVALID_CATALOG_NAME => "create the database, or name another one in store.url",
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "let the role of store.url own the schema mynah (CREATE SCHEMA mynah AUTHORIZATION ...)"
        }
        SqlState::TOO_MANY_CONNECTIONS => "raise max_connections of PostgreSQL",
        _ => return format!("PostgreSQL: {} ({})", told.message(), told.code().code()),
    };
    format!("PostgreSQL: {}; {advice}", told.message())
}

/// Returns why a connection could not be made.
fn unreachable(error: &Error) -> String {
    use std::error::Error as _;
    let why = match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    let advice = if why.contains("certificate") {
        "; name the file of its authority with sslrootcert in store.url, or see whether it names the host"
    } else if why.contains("password") {
        "; add one to store.url"
    } else if why.contains("TLS") {
        "; set ssl = on in postgresql.conf, or another sslmode in store.url"
    } else {
        ""
    };
    format!("no connection to PostgreSQL: {why}{advice}")
}
