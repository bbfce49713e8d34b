//! The only thread that writes. It takes the commands that wait, writes them in one transaction, and calls
//! the callers back once this is durable.
//!
//! It never waits for more commands: while one transaction is synced, the commands of the next one arrive.
//! Invariants: callbacks are called in commit order; a transaction that fails leaves nothing behind, neither
//! in the database nor in memory; a callback that panics does not stop the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mynah_store::StoreError;
use rusqlite::Connection;

use super::checkpoint;
use super::deleted_teams::DeletedTeams;
use super::devices;
use super::failure::{leaves_connection_usable, unavailable};
use super::queue::Command;
use super::retention::{self, Retention};
use super::shared::Shared;
use super::state::State;
use super::trim::Trim;
use super::tx::Tx;

/// The maximum number of commands in one transaction.
const BATCH: usize = 4_096;
/// The time until a retry after a failure, if there are no commands.
const PROBE_MS: u64 = 1_000;

/// The writer.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) retention: Retention,
    pub(super) deleted_teams: DeletedTeams,
    /// `None` after an error that may have broken the connection, until the next transaction.
    pub(super) db: Option<Connection>,
    /// Decides when memory that was needed for earlier work is freed.
    pub(super) trim: Trim,
    pub(super) state: State,
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        // Opening the store has read many pages.
        self.trim.used(1);
        while self.shared.queue.take(&mut batch, BATCH, self.rest()) {
            if !batch.is_empty() {
                self.trim.used(batch.len());
            }
            self.commit(&mut batch);
            self.delete_old();
            self.erase_deleted_teams();
            self.shared
                .checkpoints
                .erase(self.db.as_ref(), &self.shared.place);
            if self.trim.is_due() {
                batch = Vec::new();
                self.free_memory();
            }
        }
        self.close();
    }

    /// Frees memory that earlier work has used: cached pages, caches of rows, and the capacity of the queue.
    fn free_memory(&mut self) {
        self.shared.queue.shrink();
        self.state.forget_unused();
        if let Some(Err(error)) = self.db.as_ref().map(Connection::release_memory) {
            tracing::debug!(%error, "the writer's cached pages could not be freed");
        }
    }

    /// Returns how long the writer may sleep without a command.
    pub(super) fn idle(&self) -> Option<Duration> {
        let waiting = self.state.devices.has_waiting().then_some(devices::WAIT_MS);
        let probe = self.shared.health.state().is_err().then_some(PROBE_MS);
        let waits = waiting
            .into_iter()
            .chain(probe)
            .chain(self.retention.wait(self.state.age.steady()));
        waits.min().map(Duration::from_millis)
    }

    /// Returns the earlier of [`Self::idle`] and the next work for the WAL, for deleted teams, and for
    /// memory.
    fn rest(&self) -> Option<Duration> {
        let others = [
            self.shared.checkpoints.erase_wait(),
            self.deleted_teams.wait(),
            self.trim.wait(),
        ];
        self.idle().into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Deletes some messages of deleted teams.
    fn erase_deleted_teams(&mut self) {
        let Some(db) = self.db.as_ref().filter(|_| self.shared.place.lost().is_none()) else {
            self.deleted_teams.postpone();
            return;
        };
        match self.deleted_teams.delete_some(db) {
            Ok(false) => {}
            Ok(true) => {
                self.trim.used(1);
                self.shared.checkpoints.committed();
                self.shared.checkpoints.erase_soon();
            }
            Err(error) => {
                tracing::warn!(%error, "messages of deleted teams could not be deleted; this is retried later");
            }
        }
    }

    /// Deletes some messages that are too old, in a transaction of its own, if it is time.
    pub(super) fn delete_old(&mut self) {
        self.state.age.advance(self.state.next_row);
        // The clock is read once, so that the search and the time of the next one use the same value.
        let (now, begun) = (self.state.age.steady(), Instant::now());
        let Some(keep_ms) = self.retention.is_due(now) else {
            return;
        };
        let Some(db) = self.take() else {
            self.retention.looked(None, now);
            return;
        };
        let deleted = retention::delete_some(&db, &mut self.state, keep_ms);
        match deleted {
            Ok(deleted) => {
                self.retention.deleted(deleted.messages, deleted.more);
                self.retention.looked(deleted.more.then(|| begun.elapsed()), now);
                for conv in deleted.recounted {
                    self.state.heads.reread(conv);
                }
                self.shared.checkpoints.committed();
                if deleted.messages > 0 {
                    self.trim.used(1);
                    self.shared.checkpoints.erase_soon();
                }
                self.keep(db);
            }
            Err(error) => {
                tracing::warn!(%error, "old messages could not be deleted; this is retried later");
                self.retention.looked(None, now);
                if leaves_connection_usable(&error) && roll_back(&db, &mut self.state).is_ok() {
                    self.keep(db);
                }
            }
        }
    }

    /// Writes what was kept in memory, and moves the WAL into the database.
    fn close(mut self) {
        let Some(db) = self.take() else { return };
        self.state.age.advance(self.state.next_row);
        let flushed = db
            .execute_batch("BEGIN IMMEDIATE")
            .and_then(|()| self.state.devices.flush(&db, self.state.age.measured(), true))
            .and_then(|()| self.state.age.save(&db, true))
            .and_then(|()| self.state.marks.save(&db))
            .and_then(|()| db.execute_batch("COMMIT"));
        if let Err(error) = flushed {
            tracing::warn!(%error, "the newest acknowledgements were not written; their messages are replayed once more");
        }
        if checkpoint::finish(&db, &self.shared.place)
            && let Err(error) = self.shared.place.witness().closed()
        {
            tracing::warn!(%error, "the orderly close of the store could not be recorded");
        }
    }

    /// Writes a batch and calls its callers back.
    pub(super) fn commit(&mut self, batch: &mut Vec<Command>) {
        let begun = Instant::now();
        let committed = catch_unwind(AssertUnwindSafe(|| self.transact(batch))).unwrap_or_else(|_| {
            Err(StoreError::Unavailable(
                "an internal error occurred; see the log of the server".to_owned(),
            ))
        });
        match committed {
            Ok(()) => {
                self.state
                    .options
                    .observer
                    .committed(batch.len(), begun.elapsed());
                self.state.trim();
                self.shared.place.witness().committed(self.state.history);
                self.shared.checkpoints.committed();
                if std::mem::take(&mut self.state.erased) {
                    self.shared.checkpoints.erase_soon();
                }
                if std::mem::take(&mut self.state.team_was_deleted) {
                    self.deleted_teams.another();
                }
                for command in batch.drain(..) {
                    guarded(|| {
                        command
                            .tell()
                            .into_iter()
                            .for_each(|rest| self.shared.queue.go_on(rest))
                    });
                }
            }
            Err(error) => {
                self.state.erased = false;
                self.state.options.observer.failed();
                self.shared.health.failed(&error);
                for command in batch.drain(..) {
                    guarded(|| command.fail(error.clone()));
                }
            }
        }
    }

    /// Executes a transaction. Leaves `db` empty if the connection may be broken.
    fn transact(&mut self, batch: &mut [Command]) -> Result<(), StoreError> {
        if let Some(lost) = self.shared.place.lost() {
            return Err(lost);
        }
        let db = match self.take() {
            Some(db) => db,
            None => self.reconnect().map_err(|error| unavailable(&error))?,
        };
        self.shared.checkpoints.bound_log(&db, &self.shared.place);
        let before = db.total_changes();
        self.state.begun.begin(Instant::now());
        // There are no commands, but health checks need to know whether writing is possible again.
        let probe = batch.is_empty() && self.shared.health.state().is_err();
        self.state.age.advance(self.state.next_row);
        match write(&db, &mut self.state, batch, probe) {
            Ok(()) => {
                // A transaction that had nothing to write says nothing about the disk.
                if db.total_changes() != before {
                    self.shared.health.recovered();
                }
                self.keep(db);
                Ok(())
            }
            Err(error) => {
                if !probe {
                    tracing::error!(%error, "a transaction of the store failed");
                }
                if leaves_connection_usable(&error) && roll_back(&db, &mut self.state).is_ok() {
                    self.keep(db);
                }
                Err(unavailable(&error))
            }
        }
    }

    /// Takes the connection, which must be given back with [`Self::keep`].
    fn take(&mut self) -> Option<Connection> {
        self.shared.place.expect_log(false);
        self.db.take()
    }

    fn keep(&mut self, db: Connection) {
        self.db = Some(db);
        self.shared.place.expect_log(true);
    }

    fn reconnect(&mut self) -> rusqlite::Result<Connection> {
        let db = self.shared.place.writer()?;
        self.state.reload(&db)?;
        self.shared.place.know_log();
        Ok(db)
    }
}

/// Executes a batch in one transaction.
fn write(db: &Connection, state: &mut State, batch: &mut [Command], probe: bool) -> rusqlite::Result<()> {
    let before = db.total_changes();
    db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let now = state.age.day();
    let tx = &mut Tx { db, state, now };
    for command in batch {
        command.run(tx)?;
    }
    state.flush(db)?;
    state.advance(db, probe || db.total_changes() != before)?;
    db.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

fn roll_back(db: &Connection, state: &mut State) -> rusqlite::Result<()> {
    // SQLite has rolled back by itself after some errors.
    if !db.is_autocommit() {
        db.execute_batch("ROLLBACK")?;
    }
    state.reload(db)
}

/// Calls a callback. If it panics, only this caller is affected.
fn guarded(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("a caller of the store panicked in its callback");
    }
}
