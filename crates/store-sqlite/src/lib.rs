//! A store in SQLite: one database in a directory of its own.
//!
//! One thread writes, in batches (writer.rs); one moves the write-ahead log (WAL) into the database
//! (checkpoint.rs); a few read (reads.rs). The database can be opened with any SQLite tool; `schema/`
//! explains its tables.

mod age;
mod append;
mod backup;
mod begun;
mod cache;
mod checkpoint;
mod cids;
mod clock;
mod columns;
mod command;
mod conversations;
mod deleted_teams;
mod departures;
mod devices;
mod epoch;
mod export;
mod failure;
mod heads;
mod health;
mod history;
mod jobs;
mod leases;
mod log;
mod marks;
mod membership;
mod meta;
mod missed;
mod open;
mod open_error;
mod options;
mod positions;
mod queue;
mod reads;
mod recall;
mod recount;
mod restore;
mod retention;
mod revival;
mod revocations;
mod schema;
mod settings;
mod shared;
mod state;
#[cfg(any(test, feature = "stepped"))]
pub mod stepped;
mod teams;
mod threads;
mod totals;
mod trim;
mod tx;
mod unread;
mod watchers;
mod witness;
mod writer;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use mynah_store::Durability;
use mynah_store::ids::{ConvId, DeviceId, Seq, TeamId, Uid};
use mynah_store::{
    Append, Appended, Conversations, Device, DeviceRegister, Done, DueJobs, History, JobCounts, JobId,
    JobOutcome, JobQuery, Message, Missed, Page, Read, ReadMark, Recall, Recalled, Revocation, SettingChange,
    Span, Store, StoreError, StoreFuture, Stretch, Team, TeamChange, TeamChanged, ToTell, UnixMillis,
    Watcher, outcome,
};

pub use self::backup::{Backup, backup};
use self::checkpoint::Checkpoints;
pub use self::clock::Clock;
pub use self::command::{TextChange, change_setting, read_setting};
use self::deleted_teams::DeletedTeams;
pub use self::export::Export;
use self::failure::Failure;
use self::health::Health;
use self::leases::Leases;
use self::open::DataDirectory;
pub use self::open::OpenError;
pub use self::options::Options;
use self::queue::{Command, Queue};
use self::reads::{For, Readers};
pub use self::restore::{Restored, restore};
use self::revival::Revival;
use self::shared::Shared;
use self::state::State;
use self::threads::Threads;
use self::trim::Trim;
use self::tx::Tx;
use self::watchers::Watchers;
use self::writer::Writer;

/// The store.
pub struct Embedded {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
    /// The value of [`age::Age::certain`].
    certain: Arc<AtomicU64>,
    clock: Clock,
}

impl Embedded {
    /// Opens the store in a directory, which no other process may have open, and starts its threads.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_with(options, None, Threads::start)
    }

    /// Opens the store. Reads run in threads or in `run_reads`; `start` starts the work.
    fn open_with(
        options: Options,
        run_reads: Option<reads::RunReads>,
        start: impl FnOnce(Writer) -> std::io::Result<Threads>,
    ) -> Result<Self, OpenError> {
        let place = Arc::new(DataDirectory::open(&options.path, options.durability)?);
        let (clock, retention) = (options.clock.clone(), options.retention_ms.into());
        let begin = || -> rusqlite::Result<_> {
            let db = place.writer()?;
            let state = State::load(&db, options)?;
            let revocations = revocations::all(&db, state.age.certain())?;
            let watchers = Watchers::new(settings::all(&db)?, revocations);
            if let Err(error) = jobs::bound(&db, state.age.steady(), &state.options) {
                // If this fails, for example because the disk is full, it is done at the next start.
                tracing::warn!(%error, "deadlines of push jobs could not be checked");
            }
            Ok((watchers, db, state))
        };
        let (watchers, db, state) = begin().map_err(|error| place.explain(error))?;
        place.know_log();
        place.expect_log(true);
        let certain = state.age.shared();
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            readers: Arc::new(Readers::new(place.clone(), run_reads)),
            checkpoints: Checkpoints::new(),
            health: Health::default(),
            watchers,
            leases: Arc::new(Leases::new(clock.clone())),
            place,
        });
        if shared.place.was_full() {
            shared.health.failed(&failure::full());
        }
        let writer = Writer {
            shared: shared.clone(),
            retention,
            deleted_teams: DeletedTeams::new(),
            db: Some(db),
            trim: Trim::default(),
            state,
        };
        let threads = start(writer).map_err(OpenError::Threads)?;
        Ok(Self {
            shared,
            threads: Arc::new(threads),
            certain,
            clock,
        })
    }

    /// Returns the number of commands that wait for the writer.
    pub fn depth(&self) -> usize {
        self.shared.queue.depth()
    }

    /// Queues a command. One that is not urgent waits a moment for a transaction to share.
    fn ask<T: Send + 'static>(
        &self,
        is_urgent: bool,
        done: Done<T>,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Failure> + Send + 'static,
    ) {
        self.shared
            .queue
            .push([Command::new(is_urgent, done, work)].into_iter());
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.threads.stop();
    }
}

impl Store for Embedded {
    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>) {
        self.shared.queue.push(
            messages.map(|(message, done)| Command::new(true, done, move |tx| append::append(tx, &message))),
        );
    }

    fn change_team(&self, team: TeamId, change: TeamChange, done: Done<TeamChanged>) {
        self.ask(true, done, move |tx| membership::change(tx, &team, &change));
    }

    fn register_device(&self, register: DeviceRegister, done: Done<()>) {
        let urgent = register.urgent;
        self.ask(urgent, done, move |tx| {
            Ok(positions::register_device(tx, &register)?)
        });
    }

    fn ack(&self, device: Device, conv: ConvId, seq: Seq, done: Done<Seq>) {
        self.ask(false, done, move |tx| positions::ack(tx, &device, conv, seq));
    }

    fn read(&self, read: Read, done: Done<ReadMark>) {
        self.ask(true, done, move |tx| positions::read(tx, &read));
    }

    fn recall(&self, recall: Recall, done: Done<Recalled>) {
        self.ask(true, done, move |tx| recall::recall(tx, &recall));
    }

    fn missed(&self, device: Device, conversations: u32, behind: u32) -> StoreFuture<'_, Missed> {
        let (conversations, behind) = (conversations as usize, behind as usize);
        let asker = device.clone();
        let account = For::User(device.uid.clone());
        let read = self.shared.readers.run(account, move |db| {
            Ok(missed::missed(db, &device, conversations, behind)?)
        });
        Box::pin(async move {
            let (missed, had) = read.await?;
            if let Some(row) = had {
                self.ask(false, Box::new(drop), move |tx| {
                    Ok(tx.state.devices.had(tx.db, &asker, row)?)
                });
            }
            Ok(missed)
        })
    }

    fn replay(&self, uid: Uid, stretches: Vec<Stretch>, page: Page) -> StoreFuture<'_, Vec<Message>> {
        self.shared.readers.run(For::User(uid.clone()), move |db| {
            Ok(missed::replay(db, &uid, &stretches, page)?)
        })
    }

    fn team(&self, team: TeamId) -> StoreFuture<'_, Option<Team>> {
        self.shared.readers.run(For::Team(team.clone()), move |db| {
            let found = teams::load(db, &team)?;
            Ok(found.map(|found| membership::shown(&team, found)))
        })
    }

    fn history(&self, conv: ConvId, viewer: Option<Uid>, span: Span, page: Page) -> StoreFuture<'_, History> {
        let account = viewer.clone().map_or(For::Backend, For::User);
        self.shared.readers.run(account, move |db| {
            history::read(db, conv, viewer.as_ref(), span, page)
        })
    }

    fn conversations(
        &self,
        uid: Uid,
        device: Option<DeviceId>,
        after: Option<String>,
        page: Page,
    ) -> StoreFuture<'_, Conversations> {
        let asker = device.clone().map(|device| Device {
            uid: uid.clone(),
            device,
        });
        let read = self.shared.readers.run(For::User(uid.clone()), move |db| {
            conversations::page(db, &uid, device.as_ref(), after.as_deref(), page)
        });
        Box::pin(async move {
            if let Some(asker) = asker {
                let settle = |done| self.ask(true, done, move |tx| Ok(positions::settle(tx, &asker)?));
                if let Err(error) = outcome(settle).await {
                    // A list whose newest cursors are missing is better than no list.
                    tracing::debug!(%error, "acknowledgements could not be written before a list of conversations");
                }
            }
            read.await
        })
    }

    fn unread(&self, uid: Uid) -> StoreFuture<'_, u64> {
        self.shared.readers.run(For::User(uid.clone()), move |db| {
            Ok(conversations::unread(db, &uid)?)
        })
    }

    fn claim_jobs(&self, query: JobQuery, lease_ms: u64) -> StoreFuture<'_, DueJobs> {
        let now = self.clock.steady();
        let mut claim = self.shared.leases.claim(lease_ms);
        self.shared.readers.run(For::Jobs, move |db| {
            let due = jobs::claim(db, &query, now, &mut claim)?;
            claim.keep();
            Ok(due)
        })
    }

    fn release_jobs(&self, jobs: Vec<JobId>) {
        self.shared.leases.release(&jobs);
    }

    fn extend_leases(&self, lease_ms: u64) {
        self.shared.leases.extend(lease_ms);
    }

    fn job_counts(&self) -> StoreFuture<'_, JobCounts> {
        self.shared.readers.run(For::Jobs, |db| Ok(jobs::counts(db)?))
    }

    fn to_tell(&self, uid: Uid, conv: ConvId, seq: Seq) -> StoreFuture<'_, ToTell> {
        self.shared
            .readers
            .run(For::Jobs, move |db| Ok(jobs::to_tell(db, &uid, conv, seq)?))
    }

    fn revive_jobs(&self, uid: Uid, within_ms: u64, done: Done<()>) {
        let since = self.clock.steady().saturating_sub(within_ms);
        let mut revival = Revival::new(uid, since);
        let revive = move |tx: &mut Tx<'_>| Ok(revival.go_on(tx)?.then_some(()));
        self.shared
            .queue
            .push([Command::in_parts(false, done, revive)].into_iter());
    }

    fn finish_jobs(&self, mut outcomes: Vec<(JobId, JobOutcome)>, done: Done<()>) {
        let leases = self.shared.leases.clone();
        let settle = move |finished: Result<Vec<_>, _>| {
            done(finished.map(|outcomes| leases.settle(&outcomes)));
        };
        self.ask(false, Box::new(settle), move |tx| {
            for (id, outcome) in &outcomes {
                jobs::finish(tx, *id, outcome)?;
            }
            Ok(std::mem::take(&mut outcomes))
        });
    }

    fn members_page(
        &self,
        conv: ConvId,
        seq: Seq,
        after: Option<Uid>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<Uid>> {
        self.shared.readers.run(For::Jobs, move |db| {
            Ok(teams::page(db, conv, seq, after.as_ref(), limit as usize)?)
        })
    }

    fn revoke(&self, revocation: Revocation, done: Done<()>) {
        let shared = self.shared.clone();
        let tell = move |revoked: Result<Revocation, _>| {
            done(revoked.map(|revocation| shared.watchers.tell_revocation(&revocation)));
        };
        self.ask(true, Box::new(tell), move |tx| {
            revocations::revoke(tx.db, tx.state.age.certain(), &revocation)?;
            Ok(revocation.clone())
        });
    }

    fn change_setting(&self, name: &str, mut change: SettingChange, done: Done<()>) {
        let (name, shared) = (name.to_owned(), self.shared.clone());
        let tell = move |changed: Result<Option<_>, _>| {
            done(changed.map(|setting| {
                setting
                    .iter()
                    .for_each(|setting| shared.watchers.tell_setting(setting))
            }));
        };
        self.ask(true, Box::new(tell), move |tx| {
            let changed = settings::change(tx.db, &name, true, |text| Ok::<_, Failure>(change(text)));
            changed?
        });
    }

    fn watch(&self, watcher: Watcher) {
        self.shared.watchers.add(watcher);
    }

    fn certain_time(&self) -> UnixMillis {
        self.certain.load(Ordering::Relaxed)
    }

    fn epoch(&self) -> &str {
        self.shared.place.epoch()
    }

    fn healthy(&self) -> Result<(), StoreError> {
        self.shared
            .place
            .lost()
            .map_or_else(|| self.shared.health.state(), Err)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let threads = self.threads.clone();
        Box::pin(async move {
            if let Err(error) = tokio::task::spawn_blocking(move || threads.stop()).await {
                tracing::error!(%error, "the store did not stop in order");
            }
        })
    }
}
