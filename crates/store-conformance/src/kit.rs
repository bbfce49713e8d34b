//! A store under test with short functions for its calls, and the values that cases use.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use mynah_store::ids::{Cid, ConvId, DeviceId, Mid, PairClass, Seq, TeamId, Uid};
use mynah_store::{
    Append, Appended, Device, DeviceRegister, Done, JobId, JobOutcome, JobQuery, Lane, Page, Place, PushJob,
    PushOrder, Read, ReadMark, Recall, Recalled, Revocation, Store, StoreError, TeamChange, TeamChanged,
    Watcher,
};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

pub use crate::subject::{Clocks, NOON, Setup, Stores, Subject};

/// A store that was closed and must be opened again.
#[must_use]
pub struct Stopped;

/// A store under test.
pub struct Kit<S = Box<dyn Subject>> {
    subject: S,
    clocks: Clocks,
    setup: Setup,
}

impl Kit {
    /// Creates a store with the default options.
    pub fn new(stores: &dyn Stores) -> Self {
        Self::with(stores, Setup::default())
    }

    /// Creates a store with these options.
    pub fn with(stores: &dyn Stores, setup: Setup) -> Self {
        Self::begin(setup, |clocks| stores.make(setup, clocks))
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.subject.store()
    }
}

impl<S> Deref for Kit<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.subject
    }
}

impl<S> DerefMut for Kit<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.subject
    }
}

impl<S: Subject> Kit<S> {
    /// Creates a subject with these clocks.
    pub fn begin(setup: Setup, make: impl FnOnce(&Clocks) -> S) -> Self {
        let clocks = Clocks::default();
        Self {
            subject: make(&clocks),
            clocks,
            setup,
        }
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self) {
        let stopped = self.stop().await;
        self.open(stopped);
    }

    /// The same, with other options.
    pub async fn change_setup(&mut self, setup: Setup) {
        let stopped = self.stop().await;
        self.setup = setup;
        self.open(stopped);
    }

    /// Closes the store, so that the case can do something before it is opened again.
    pub async fn stop(&self) -> Stopped {
        self.subject.store().close().await;
        Stopped
    }

    /// Opens the store again.
    pub fn open(&mut self, _: Stopped) {
        self.clocks.start();
        self.subject.open(self.setup, &self.clocks);
    }

    /// Opens the copy that was kept of the store.
    pub fn go_back(&mut self, _: Stopped) {
        self.clocks.start();
        self.subject.go_back(self.setup, &self.clocks);
    }

    /// Continues with what a killed process would have left.
    pub async fn crash(&mut self) {
        self.subject.catch_up().await;
        self.clocks.start();
        self.subject.crash(self.setup, &self.clocks).await;
    }

    /// Lets the store do what is due at this time, such as deleting old messages.
    pub async fn catch_up(&self) {
        self.subject.catch_up().await;
    }

    /// Lets time pass until `now`.
    pub fn set_clock(&self, now: u64) {
        self.clocks.pass_until(now);
    }

    /// Sets the time of day, while no time passes.
    pub fn jump(&self, to: u64) {
        self.clocks.jump(to);
    }

    pub async fn append(&self, order: Append) -> Result<Appended, StoreError> {
        self.append_all(vec![order]).await.remove(0)
    }

    /// Appends all messages in one call, which is one transaction.
    pub async fn append_all(&self, orders: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
        let (batch, outcomes): (Vec<_>, Vec<_>) = orders
            .into_iter()
            .map(|order| {
                let (done, outcome) = answer();
                ((Arc::new(order), done), outcome)
            })
            .unzip();
        self.subject.store().append(&mut batch.into_iter());
        let mut told = Vec::new();
        for outcome in outcomes {
            told.push(outcome.await.expect("the store answers"));
        }
        told
    }

    pub async fn change(&self, team: &str, change: TeamChange) -> Result<TeamChanged, StoreError> {
        let (done, outcome) = answer();
        self.subject.store().change_team(team_id(team), change, done);
        outcome.await.expect("the store answers")
    }

    /// Creates a team, or replaces its members.
    pub async fn team(&self, team: &str, members: &[&str]) {
        let put = TeamChange::Put {
            name: "T".into(),
            members: uids(members),
        };
        self.change(team, put).await.expect("the team can be made");
    }

    pub async fn finish(&self, outcomes: Vec<(JobId, JobOutcome)>) -> Result<(), StoreError> {
        let (done, outcome) = answer();
        self.subject.store().finish_jobs(outcomes, done);
        outcome.await.expect("the store answers")
    }

    /// Returns all jobs that wait, ordered by id.
    pub async fn all_jobs(&self) -> Vec<PushJob> {
        let mut jobs = Vec::new();
        let store = self.subject.store();
        for lane in [Lane::Urgent, Lane::Normal] {
            let found = store.claim_jobs(due_in(lane, u64::MAX), 0);
            jobs.extend(found.await.unwrap().jobs);
        }
        jobs.sort_by_key(|job| job.id);
        jobs
    }

    /// Revives the jobs of the last `within_ms`.
    pub async fn revive(&self, user: &str, within_ms: u64) {
        let (done, outcome) = answer();
        self.subject.store().revive_jobs(uid(user), within_ms, done);
        outcome.await.expect("the store answers").unwrap();
    }

    pub async fn register_device(&self, device: &Device) {
        let (done, outcome) = answer();
        let register = DeviceRegister {
            device: device.clone(),
            named: true,
            urgent: true,
        };
        self.subject.store().register_device(register, done);
        outcome.await.expect("the store answers").unwrap();
    }

    pub async fn ack(&self, device: &Device, conv: ConvId, seq: u64) -> Result<Seq, StoreError> {
        let (done, outcome) = answer();
        self.subject.store().ack(device.clone(), conv, Seq(seq), done);
        outcome.await.expect("the store answers")
    }

    pub async fn read(&self, by: &Device, conv: ConvId, seq: u64) -> Result<ReadMark, StoreError> {
        let (done, outcome) = answer();
        let by = by.clone();
        let seq = Seq(seq);
        self.subject.store().read(Read { by, conv, seq }, done);
        outcome.await.expect("the store answers")
    }

    pub async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError> {
        let (done, outcome) = answer();
        self.subject.store().revoke(revocation, done);
        outcome.await.expect("the store answers")
    }

    /// The revocations that a new watcher is told at once.
    pub fn revocations(&self) -> Vec<Revocation> {
        let told = Arc::<Mutex<Vec<_>>>::default();
        let keeps = told.clone();
        let keep = move |revocation| keeps.lock().expect("no test panics in it").push(revocation);
        self.subject.store().watch(Watcher::Revocations(Box::new(keep)));
        std::mem::take(&mut *told.lock().expect("no test panics in it"))
    }

    pub async fn recall(&self, order: Recall) -> Result<Recalled, StoreError> {
        let (done, outcome) = answer();
        self.subject.store().recall(order, done);
        outcome.await.expect("the store answers")
    }
}

/// Returns a query for all jobs of a lane that are due within this time. A claim for 0 ms reads jobs without
/// keeping them.
pub fn due_in(lane: Lane, within_ms: u64) -> JobQuery {
    JobQuery {
        within_ms,
        ..JobQuery::due(lane, u32::MAX)
    }
}

/// Returns a callback, and the receiver of its result.
pub fn answer<T: Send + 'static>() -> (Done<T>, oneshot::Receiver<Result<T, StoreError>>) {
    let (tell, told) = oneshot::channel();
    let done = move |outcome| {
        // A case that has failed no longer receives it.
        let _ = tell.send(outcome);
    };
    (Box::new(done), told)
}

pub fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

pub fn uids(texts: &[&str]) -> Vec<Uid> {
    texts.iter().map(|text| uid(text)).collect()
}

pub fn device(user: &str, name: &str) -> Device {
    let device = DeviceId::new(name).unwrap();
    Device {
        uid: uid(user),
        device,
    }
}

/// Returns a recall of a message of the last minute.
pub fn recall(mid: Mid, by: &str) -> Recall {
    Recall {
        mid,
        by: uid(by),
        kind: 109,
        data: json(r#"{"mid":"it"}"#),
        window_ms: 60_000,
    }
}

pub fn team_id(text: &str) -> TeamId {
    TeamId::new(text).unwrap()
}

pub fn json(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap().into()
}

/// Returns a counting message of kind 3 with a push job.
pub fn pair(from: &str, to: &str) -> Append {
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
            expires_in_ms: 86_400_000,
            delay_ms: 0,
            urgent: false,
        }),
    }
}

/// Returns a counting notice of kind 5 with a push job.
pub fn notice(to: &str) -> Append {
    Append {
        place: Place::Notices(uid(to)),
        kind: 5,
        from: None,
        ..pair(to, to)
    }
}

/// Returns a counting message of kind 15 with a push job, from a member.
pub fn to_team(from: &str, team: &str) -> Append {
    Append {
        place: Place::Team(team_id(team)),
        kind: 15,
        members_only: true,
        ..pair(from, from)
    }
}

pub fn with_cid(order: Append, cid: &str) -> Append {
    Append {
        cid: Some(Cid::new(cid).unwrap()),
        ..order
    }
}

/// Returns a page of this number of entries.
pub fn page(most: u32) -> Page {
    let bytes = 8 << 20;
    Page { most, bytes }
}
