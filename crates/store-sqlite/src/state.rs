//! What the writer keeps in memory between transactions.

use std::time::Instant;

use mynah_store::ids::Mid;
use mynah_store::mids::Mids;
use rusqlite::{Connection, OptionalExtension};

use super::age::Age;
use super::begun::Begun;
use super::cids::Cids;
use super::devices::Devices;
use super::epoch;
use super::heads::Heads;
use super::marks::Marks;
use super::options::Options;
use super::teams::Teams;
use super::totals::Totals;
use super::witness::HistoryState;

/// The state of the writer. Invariant: it equals the database plus the open transaction. [`State::reload`]
/// restores this after a failed transaction.
pub(super) struct State {
    pub(super) options: Options,
    pub(super) age: Age,
    pub(super) marks: Marks,
    pub(super) heads: Heads,
    pub(super) teams: Teams,
    pub(super) cids: Cids,
    pub(super) mids: Mids,
    pub(super) devices: Devices,
    pub(super) totals: Totals,
    pub(super) begun: Begun,
    /// The next `messages.id`.
    pub(super) next_row: i64,
    /// The next `push_jobs.id`. An id is never used twice while the process lives, because somebody may still
    /// hold the id of a deleted job.
    pub(super) next_job: i64,
    /// The state of the history at the last commit.
    pub(super) history: HistoryState,
    /// Whether something was deleted or recalled whose text is still in the WAL.
    pub(super) erased: bool,
    /// Whether a team was deleted whose messages must be deleted too.
    pub(super) team_was_deleted: bool,
}

impl State {
    pub(super) fn load(db: &Connection, options: Options) -> rusqlite::Result<Self> {
        let mut state = Self {
            age: Age::load(db, options.clock.clone())?,
            marks: Marks::new(options.retention_ms),
            heads: Heads::new(),
            teams: Teams::new(),
            cids: Cids::new(options.fresh_cids),
            mids: Mids::after(None, options.random),
            devices: Devices::new(options.max_devices),
            totals: Totals::default(),
            begun: Begun::new(Instant::now()),
            next_row: 1,
            next_job: 1,
            history: HistoryState::default(),
            erased: false,
            team_was_deleted: false,
            options,
        };
        state.reload(db)?;
        state.marks.begin(state.next_row - 1, state.age.before_start());
        let last = db
            .query_row("SELECT mid FROM messages ORDER BY id DESC LIMIT 1", [], |row| {
                row.get::<_, [u8; 16]>(0)
            })
            .optional()?;
        state.mids = Mids::after(
            last.map(|bytes| Mid(uuid::Uuid::from_bytes(bytes))),
            state.options.random,
        );
        Ok(state)
    }

    /// Called after a failed transaction: forgets everything that it may have changed.
    pub(super) fn reload(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.heads.forget();
        self.teams.known.clear();
        self.devices.forget();
        self.totals.forget();
        self.begun.failed();
        self.cids.reload(db)?;
        self.history = epoch::find(db)?.history;
        self.next_row = db.query_row("SELECT coalesce(max(id), 0) + 1 FROM messages", [], |row| {
            row.get(0)
        })?;
        let job = db.query_row("SELECT coalesce(max(id), 0) + 1 FROM push_jobs", [], |row| {
            row.get(0)
        })?;
        self.next_job = self.next_job.max(job);
        self.marks.reload(db, self.next_row - 1, self.age.ran())?;
        Ok(())
    }

    /// Writes what was kept in memory. Must be called at the end of a transaction.
    pub(super) fn flush(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.heads.flush(db)?;
        self.totals.flush(db)?;
        self.devices.flush(db, self.age.measured(), false)?;
        self.age.save(db, false)?;
        self.marks.flush(db, self.next_row - 1, self.age.ran())?;
        self.cids.move_some(db, self.next_row - 1)
    }

    /// Called at the end of a transaction: records in the database that the transaction has changed it. A
    /// transaction with messages needs no such record.
    pub(super) fn advance(&mut self, db: &Connection, changed: bool) -> rusqlite::Result<()> {
        let row = self.next_row - 1;
        let changes = self.history.changes + i64::from(changed && row == self.history.row);
        if changes != self.history.changes {
            epoch::count(db, changes)?;
        }
        self.history = HistoryState { row, changes };
        Ok(())
    }

    /// Called between two transactions: forgets what can be read again, to free memory.
    pub(super) fn forget_unused(&mut self) {
        self.heads.forget();
        self.teams.known.clear();
        if !self.devices.has_waiting() {
            self.devices.forget();
        }
    }

    /// Called after a commit.
    pub(super) fn trim(&mut self) {
        self.heads.trim();
        self.teams.known.trim();
        self.devices.trim();
        self.begun.committed();
    }
}
