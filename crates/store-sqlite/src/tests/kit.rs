//! A store in a temporary directory, with clocks that the test controls, and short functions for its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mynah_store::ids::{Cid, ConvId, DeviceId, Mid, PairClass, Seq, TeamId, Uid};
use mynah_store::{
    Append, Appended, Device, Done, Entry, JobId, JobOutcome, Lane, Page, Place, PushJob, PushOrder, Read,
    ReadMark, Recall, Recalled, Revocation, Store, StoreError, TeamChange, TeamChanged,
};
use rusqlite::Connection;
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::queue::Command;
use crate::{Clock, Durability, Embedded, Options};

/// The first value of the clocks.
pub(super) const NOON: u64 = 1_790_000_000_000;

/// Options that differ between tests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) max_devices: usize,
    /// New members see earlier messages.
    pub(super) see_all: bool,
    /// 0 is unlimited.
    pub(super) keep_ms: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            max_devices: 100,
            see_all: false,
            keep_ms: 0,
        }
    }
}

/// A store that was closed and must be opened again.
#[must_use]
pub(super) struct Stopped;

/// A store for a test. Commits are not synced, because the tests do not cut the power.
pub(super) struct Kit {
    pub(super) dir: TempDir,
    pub(super) store: Embedded,
    clock: Clocks,
    setup: Setup,
}

impl Kit {
    pub(super) fn new() -> Self {
        Self::with(Setup::default())
    }

    pub(super) fn with(setup: Setup) -> Self {
        Self::begin(tempfile::tempdir().unwrap(), setup)
    }

    pub(super) fn within(dir: TempDir) -> Self {
        Self::begin(dir, Setup::default())
    }

    fn begin(dir: TempDir, setup: Setup) -> Self {
        let clock = Clocks::default();
        let store = Embedded::open(options(&dir, &clock, setup)).unwrap();
        Self {
            dir,
            store,
            clock,
            setup,
        }
    }

    /// Closes the store and opens it again.
    pub(super) async fn reopen(&mut self) {
        let stopped = self.stop().await;
        self.open(stopped);
    }

    /// The same, with other options.
    pub(super) async fn change_setup(&mut self, setup: Setup) {
        let stopped = self.stop().await;
        self.setup = setup;
        self.open(stopped);
    }

    /// Closes the store, so that the test can do something before it is opened again.
    pub(super) async fn stop(&self) -> Stopped {
        self.store.close().await;
        Stopped
    }

    pub(super) fn open(&mut self, _: Stopped) {
        self.clock.start();
        self.store = Embedded::open(options(&self.dir, &self.clock, self.setup)).unwrap();
    }

    /// Continues with what a killed process would have left.
    pub(super) async fn crash(&mut self) {
        self.catch_up().await;
        let dir = tempfile::tempdir().unwrap();
        // The database is copied before its WAL: a checkpoint in between moves pages into the database, but
        // removes none from the WAL.
        for name in ["mynah.db", "mynah.db-wal"] {
            std::fs::copy(self.dir.path().join(name), dir.path().join(name)).unwrap();
        }
        self.clock.start();
        let store = Embedded::open(options(&dir, &self.clock, self.setup)).unwrap();
        std::mem::replace(&mut self.store, store).close().await;
        self.dir = dir;
    }

    /// Lets time pass until `now`.
    pub(super) fn set_clock(&self, now: u64) {
        let before = self.clock.day.swap(now, Ordering::Relaxed);
        self.clock.steady.fetch_add(now - before, Ordering::Relaxed);
    }

    /// Sets the time of day, while no time passes.
    pub(super) fn jump(&self, to: u64) {
        self.clock.day.store(to, Ordering::Relaxed);
    }

    /// Lets the writer do what is due at this time, such as deleting old messages.
    pub(super) async fn catch_up(&self) {
        // The writer does this after a batch, and so before the next one.
        self.writer(|_| ()).await;
        self.writer(|_| ()).await;
    }

    /// Waits until the writer has deleted the messages of deleted teams, which it does after the change.
    pub(super) async fn delete_closed(&self) {
        let noted = "SELECT count(*) FROM meta WHERE key > 'closed:' AND key < 'closed;'";
        let count = move |db: &Connection| db.query_row(noted, [], |row| row.get::<_, i64>(0)).unwrap();
        while self.writer(count).await > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Runs a function with the writer's connection, in a transaction.
    pub(super) async fn writer<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> T {
        let (done, ran) = oneshot::channel();
        let run = move |db: &Connection| drop(done.send(run(db)));
        self.store.queue.push([Command::Run(Box::new(run))].into_iter());
        ran.await.expect("the writer runs it")
    }

    pub(super) async fn append(&self, order: Append) -> Result<Appended, StoreError> {
        self.append_all(vec![order]).await.remove(0)
    }

    /// Appends all messages in one call, which is one transaction.
    pub(super) async fn append_all(&self, orders: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
        let (batch, outcomes): (Vec<_>, Vec<_>) = orders
            .into_iter()
            .map(|order| {
                let (done, outcome) = answer();
                ((order, done), outcome)
            })
            .unzip();
        self.store.append(batch);
        let mut told = Vec::new();
        for outcome in outcomes {
            told.push(outcome.await.expect("the store answers"));
        }
        told
    }

    pub(super) async fn change(&self, team: &str, change: TeamChange) -> Result<TeamChanged, StoreError> {
        let (done, outcome) = answer();
        self.store.change_team(team_id(team), change, done);
        outcome.await.expect("the store answers")
    }

    /// Creates a team, or replaces its members.
    pub(super) async fn team(&self, team: &str, members: &[&str]) {
        let put = TeamChange::Put {
            name: "T".into(),
            members: uids(members),
        };
        self.change(team, put).await.expect("the team can be made");
    }

    pub(super) async fn finish(&self, outcomes: Vec<(JobId, JobOutcome)>) -> Result<(), StoreError> {
        let (done, outcome) = answer();
        self.store.finish_jobs(outcomes, done);
        outcome.await.expect("the store answers")
    }

    /// Returns all jobs that wait, ordered by id.
    pub(super) async fn all_jobs(&self) -> Vec<PushJob> {
        let mut jobs = Vec::new();
        for lane in [Lane::Urgent, Lane::Normal] {
            let found = self.store.due_jobs(lane, (0, JobId(0)), u64::MAX, u32::MAX);
            jobs.extend(found.await.unwrap().jobs);
        }
        jobs.sort_by_key(|job| job.id);
        jobs
    }

    pub(super) async fn revive(&self, user: &str, since: u64) {
        let (done, outcome) = answer();
        self.store.revive_jobs(uid(user), since, done);
        outcome.await.expect("the store answers").unwrap();
    }

    pub(super) async fn enter(&self, device: &Device) {
        let (done, outcome) = answer();
        let entry = Entry {
            device: device.clone(),
            named: true,
            urgent: true,
        };
        self.store.enter(entry, done);
        outcome.await.expect("the store answers").unwrap();
    }

    pub(super) async fn ack(&self, device: &Device, conv: ConvId, seq: u64) -> Result<Seq, StoreError> {
        let (done, outcome) = answer();
        self.store.ack(device.clone(), conv, Seq(seq), done);
        outcome.await.expect("the store answers")
    }

    pub(super) async fn read(&self, by: &Device, conv: ConvId, seq: u64) -> Result<ReadMark, StoreError> {
        let (done, outcome) = answer();
        let by = by.clone();
        let seq = Seq(seq);
        self.store.read(Read { by, conv, seq }, done);
        outcome.await.expect("the store answers")
    }

    pub(super) async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError> {
        let (done, outcome) = answer();
        self.store.revoke(revocation, done);
        outcome.await.expect("the store answers")
    }

    pub(super) async fn recall(&self, order: Recall) -> Result<Recalled, StoreError> {
        let (done, outcome) = answer();
        self.store.recall(order, done);
        outcome.await.expect("the store answers")
    }
}

/// The time of day, and a steady clock that is independent of it.
#[derive(Clone)]
struct Clocks {
    day: Arc<AtomicU64>,
    steady: Arc<AtomicU64>,
}

impl Default for Clocks {
    fn default() -> Self {
        let noon = || Arc::new(AtomicU64::new(NOON));
        Self {
            day: noon(),
            steady: noon(),
        }
    }
}

impl Clocks {
    /// A program that starts sets its steady clock to the time of day.
    fn start(&mut self) {
        self.steady = Arc::new(AtomicU64::new(self.day.load(Ordering::Relaxed)));
    }
}

fn options(dir: &TempDir, clock: &Clocks, setup: Setup) -> Options {
    let Clocks { day, steady } = clock.clone();
    Options {
        durability: Durability::Process,
        dedupe_window_ms: 1_000,
        // So few that tests reach the limit and cids are moved.
        fresh_cids: 5,
        max_members: 10,
        max_devices: setup.max_devices,
        new_members_see_all: setup.see_all,
        retention_ms: setup.keep_ms,
        clock: Clock::new(
            move || day.load(Ordering::Relaxed),
            move || steady.load(Ordering::Relaxed),
        ),
        ..Options::new(dir.path())
    }
}

/// Returns a callback, and the receiver of its result.
pub(super) fn answer<T: Send + 'static>() -> (Done<T>, oneshot::Receiver<Result<T, StoreError>>) {
    let (tell, told) = oneshot::channel();
    let done = move |outcome| {
        // A test that has failed no longer receives it.
        let _ = tell.send(outcome);
    };
    (Box::new(done), told)
}

pub(super) fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

pub(super) fn uids(texts: &[&str]) -> Vec<Uid> {
    texts.iter().map(|text| uid(text)).collect()
}

pub(super) fn device(user: &str, name: &str) -> Device {
    let device = DeviceId::new(name).unwrap();
    Device {
        uid: uid(user),
        device,
    }
}

/// Returns a recall of a message of the last minute.
pub(super) fn recall(mid: Mid, by: &str) -> Recall {
    Recall {
        mid,
        by: uid(by),
        kind: 109,
        data: json(r#"{"mid":"it"}"#),
        window_ms: 60_000,
    }
}

pub(super) fn team_id(text: &str) -> TeamId {
    TeamId::new(text).unwrap()
}

pub(super) fn json(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap().into()
}

/// Returns a counting message of kind 3 with a push job.
pub(super) fn pair(from: &str, to: &str) -> Append {
    Append {
        place: Place::Pair {
            class: PairClass::Plain,
            to: uid(to),
        },
        kind: 3,
        counts: true,
        from: Some(uid(from)),
        device: None,
        members_only: false,
        only_repeat: false,
        new_pairs_per_hour: 0,
        cid: None,
        data: json(r#"{"text":"你好 👋"}"#),
        push: Some(PushOrder {
            expires: NOON + 86_400_000,
            delay_ms: 0,
            urgent: false,
        }),
    }
}

/// Returns a counting notice of kind 5 with a push job.
pub(super) fn notice(to: &str) -> Append {
    Append {
        place: Place::Notices(uid(to)),
        kind: 5,
        from: None,
        ..pair(to, to)
    }
}

/// Returns a counting message of kind 15 with a push job, from a member.
pub(super) fn to_team(from: &str, team: &str) -> Append {
    Append {
        place: Place::Team(team_id(team)),
        kind: 15,
        members_only: true,
        ..pair(from, from)
    }
}

pub(super) fn with_cid(order: Append, cid: &str) -> Append {
    Append {
        cid: Some(Cid::new(cid).unwrap()),
        ..order
    }
}

/// Returns a page of this number of entries.
pub(super) fn page(most: u32) -> Page {
    let bytes = 8 << 20;
    Page { most, bytes }
}
