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
mod closed;
mod columns;
mod command;
mod conversations;
mod departures;
mod devices;
mod epoch;
mod failure;
mod heads;
mod health;
mod history;
mod jobs;
mod leases;
mod log;
mod marks;
mod membership;
mod missed;
mod open;
mod open_error;
mod positions;
mod queue;
mod reads;
mod recall;
mod recount;
mod restore;
mod retention;
mod revocations;
mod schema;
mod settings;
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

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use mynah_store::Durability;
use mynah_store::ids::{ConvId, DeviceId, Seq, TeamId, Uid};
use mynah_store::{
    Append, Appended, Conversations, Device, DeviceRegister, Done, DueJobs, History, JobCounts, JobId,
    JobOutcome, JobQuery, Message, Missed, Observer, Page, Read, ReadMark, Recall, Recalled, Revocation,
    SettingChange, Span, Store, StoreError, StoreFuture, Stretch, Team, TeamChange, TeamChanged, ToTell,
    UnixMillis, Watcher, outcome,
};

pub use self::backup::{Backup, backup};
pub use self::clock::Clock;
pub use self::command::{TextChange, change_setting, read_setting};
use self::failure::Failure;
pub use self::open::OpenError;
use self::queue::Command;
use self::reads::For;
pub use self::restore::{Restored, restore};
use self::state::{Rules, State};
use self::threads::{Threads, Work};
use self::tx::Tx;

/// The parameters of [`Embedded::open`].
pub struct Options {
    /// The data directory. It is created if it does not exist.
    pub path: PathBuf,
    /// What an answered append survives.
    pub durability: Durability,
    /// How long a `cid` is remembered, in milliseconds.
    pub dedupe_window_ms: u64,
    /// The maximum number of cids that are kept in memory before they are moved to their table.
    pub fresh_cids: usize,
    /// The maximum number of members of a team.
    pub max_members: usize,
    /// The maximum number of devices of one user that are remembered.
    pub max_devices: usize,
    /// Whether new members of a team see messages from before they joined.
    pub new_members_see_all: bool,
    /// How long messages are kept, in milliseconds; 0 is unlimited.
    pub retention_ms: u64,
    /// The longest time between two attempts of a push job, in milliseconds. Stored deadlines that are
    /// further away are reduced to it.
    pub longest_push_wait_ms: u64,
    /// The longest life of a push job, in milliseconds. Stored ones are reduced to it likewise.
    pub longest_push_life_ms: u64,
    /// The clocks.
    pub clock: Clock,
    /// The source of randomness for ids: fills the slice with random bytes.
    pub random: fn(&mut [u8]) -> Result<(), getrandom::Error>,
    /// Counts transactions and failures.
    pub observer: Arc<dyn Observer>,
}

impl Options {
    /// Returns the defaults (docs/PROTOCOL.md#10-limits) for the directory `path`, with the system's clocks.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::Power,
            dedupe_window_ms: 7 * 24 * 3_600_000,
            fresh_cids: 32_768,
            max_members: 100_000,
            max_devices: 100,
            new_members_see_all: false,
            retention_ms: 0,
            longest_push_wait_ms: 75_000,
            longest_push_life_ms: 24 * 3_600_000,
            clock: Clock::system(),
            observer: Arc::new(()),
            random: getrandom::fill,
        }
    }
}

/// The store.
pub struct Embedded {
    queue: Arc<queue::Queue>,
    readers: Arc<reads::Readers>,
    health: Arc<health::Health>,
    threads: Arc<Threads>,
    place: Arc<open::DataDirectory>,
    /// The value of [`age::Age::certain`].
    certain: Arc<AtomicU64>,
    watchers: Arc<watchers::Watchers>,
    leases: Arc<leases::Leases>,
    clock: Clock,
}

impl Embedded {
    /// Opens the store in a directory, which no other process may have open, and starts its threads.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_with(options, None, Threads::start)
    }

    /// Opens the store. Reads run in threads or in `here`; `start` starts the work.
    fn open_with(
        options: Options,
        here: Option<reads::Here>,
        start: impl FnOnce(Work) -> std::io::Result<Threads>,
    ) -> Result<Self, OpenError> {
        let place = Arc::new(open::DataDirectory::open(&options.path, options.durability)?);
        let rules = Rules {
            dedupe_window_ms: options.dedupe_window_ms,
            max_members: options.max_members,
            max_devices: options.max_devices,
            new_members_see_all: options.new_members_see_all,
            fresh_cids: options.fresh_cids,
            random: options.random,
            keep_ms: options.retention_ms,
            longest_push_wait_ms: options.longest_push_wait_ms,
            longest_push_life_ms: options.longest_push_life_ms,
        };
        let begin = || -> rusqlite::Result<_> {
            let db = place.writer()?;
            let state = State::load(&db, rules, options.clock.clone())?;
            let revocations = revocations::all(&db, state.age.certain())?;
            let watchers = watchers::Watchers::new(settings::all(&db)?, revocations);
            if let Err(error) = jobs::bound(&db, state.age.steady(), &rules) {
                // If this fails, for example because the disk is full, it is done at the next start.
                tracing::warn!(%error, "deadlines of push jobs could not be checked");
            }
            Ok((jobs::count_dead(&db)?, Arc::new(watchers), db, state))
        };
        let (dead, watchers, db, state) = begin().map_err(|error| place.explain(error))?;
        place.know_log();
        place.expect_log(true);
        let certain = state.age.shared();
        let queue = Arc::new(queue::Queue::default());
        let health = Arc::new(health::Health::new(dead));
        if place.was_full() {
            health.failed(&failure::full());
        }
        let leases = Arc::new(leases::Leases::new(options.clock.clone()));
        let readers = Arc::new(reads::Readers::new(place.clone(), here));
        let checkpoints = Arc::new(checkpoint::Checkpoints::new());
        let writer = writer::Writer {
            place: place.clone(),
            queue: queue.clone(),
            health: health.clone(),
            checkpoints: checkpoints.clone(),
            retention: options.retention_ms.into(),
            closed: closed::Closed::new(),
            observer: options.observer,
            db: Some(db),
            trim: trim::Trim::default(),
            state,
        };
        let work = Work {
            place: place.clone(),
            queue: queue.clone(),
            readers: readers.clone(),
            checkpoints,
            watchers: watchers.clone(),
            writer,
        };
        let threads = start(work).map_err(OpenError::Threads)?;
        Ok(Self {
            queue,
            readers,
            health,
            threads: Arc::new(threads),
            place,
            certain,
            watchers,
            leases,
            clock: options.clock,
        })
    }

    /// Returns the number of commands that wait for the writer.
    pub fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// Queues a command. One that is not urgent waits a moment for a transaction to share.
    fn ask<T: Send + 'static>(
        &self,
        is_urgent: bool,
        done: Done<T>,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Failure> + Send + 'static,
    ) {
        self.queue.push([Command::new(is_urgent, done, work)].into_iter());
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.threads.stop();
    }
}

impl Store for Embedded {
    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>) {
        self.queue.push(
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
        let read = self.readers.run(account, move |db| {
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
        self.readers.run(For::User(uid.clone()), move |db| {
            Ok(missed::replay(db, &uid, &stretches, page)?)
        })
    }

    fn team(&self, team: TeamId) -> StoreFuture<'_, Option<Team>> {
        self.readers.run(For::Team(team.clone()), move |db| {
            let found = teams::load(db, &team)?;
            Ok(found.map(|found| membership::shown(&team, found)))
        })
    }

    fn history(&self, conv: ConvId, viewer: Option<Uid>, span: Span, page: Page) -> StoreFuture<'_, History> {
        let account = viewer.clone().map_or(For::Backend, For::User);
        self.readers.run(account, move |db| {
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
        let read = self.readers.run(For::User(uid.clone()), move |db| {
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
        self.readers.run(For::User(uid.clone()), move |db| {
            Ok(conversations::unread(db, &uid)?)
        })
    }

    fn claim_jobs(&self, query: JobQuery, lease_ms: u64) -> StoreFuture<'_, DueJobs> {
        let now = self.clock.steady();
        let mut claim = self.leases.claim(lease_ms);
        self.readers.run(For::Jobs, move |db| {
            let due = jobs::claim(db, &query, now, &mut claim)?;
            claim.keep();
            Ok(due)
        })
    }

    fn release_jobs(&self, jobs: Vec<JobId>) {
        self.leases.release(&jobs);
    }

    fn extend_leases(&self, lease_ms: u64) {
        self.leases.extend(lease_ms);
    }

    fn job_counts(&self) -> StoreFuture<'_, JobCounts> {
        let health = self.health.clone();
        self.readers.run(For::Jobs, move |db| {
            Ok(JobCounts {
                waiting: jobs::count_waiting(db)?,
                dead: health.dead_jobs(),
            })
        })
    }

    fn to_tell(&self, uid: Uid, conv: ConvId, seq: Seq) -> StoreFuture<'_, ToTell> {
        self.readers
            .run(For::Jobs, move |db| Ok(jobs::to_tell(db, &uid, conv, seq)?))
    }

    fn revive_jobs(&self, uid: Uid, within_ms: u64, done: Done<()>) {
        let since = self.clock.steady().saturating_sub(within_ms);
        self.ask(false, done, move |tx| Ok(jobs::revive(tx, &uid, since)?));
    }

    fn finish_jobs(&self, mut outcomes: Vec<(JobId, JobOutcome)>, done: Done<()>) {
        let leases = self.leases.clone();
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
        self.readers.run(For::Jobs, move |db| {
            Ok(teams::page(db, conv, seq, after.as_ref(), limit as usize)?)
        })
    }

    fn revoke(&self, revocation: Revocation, done: Done<()>) {
        let watchers = self.watchers.clone();
        let tell = move |revoked: Result<Revocation, _>| {
            done(revoked.map(|revocation| watchers.tell_revocation(&revocation)));
        };
        self.ask(true, Box::new(tell), move |tx| {
            revocations::revoke(tx.db, tx.state.age.certain(), &revocation)?;
            Ok(revocation.clone())
        });
    }

    fn change_setting(&self, name: &str, mut change: SettingChange, done: Done<()>) {
        let (name, watchers) = (name.to_owned(), self.watchers.clone());
        let tell = move |changed: Result<Option<_>, _>| {
            done(changed.map(|setting| setting.iter().for_each(|setting| watchers.tell_setting(setting))));
        };
        self.ask(true, Box::new(tell), move |tx| {
            let changed = settings::change(tx.db, &name, true, |text| Ok::<_, Failure>(change(text)));
            changed?
        });
    }

    fn watch(&self, watcher: Watcher) {
        self.watchers.add(watcher);
    }

    fn certain_time(&self) -> UnixMillis {
        self.certain.load(Ordering::Relaxed)
    }

    fn epoch(&self) -> &str {
        self.place.epoch()
    }

    fn healthy(&self) -> Result<(), StoreError> {
        self.place.lost().map_or_else(|| self.health.state(), Err)
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
