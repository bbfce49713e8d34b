//! An open transaction of the writer.

use mynah_store::UnixMillis;
use rusqlite::Connection;

use super::state::State;

/// What a command of the writer works with.
pub(super) struct Tx<'a> {
    pub(super) db: &'a Connection,
    /// What the writer knows; equal to the database and the open transaction.
    pub(super) state: &'a mut State,
    /// The time of day at which the transaction began.
    pub(super) now: UnixMillis,
}
