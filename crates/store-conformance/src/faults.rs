//! Stores with one deliberate fault each, to show that the suite notices it.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mynah_store::ids::{ConvId, DeviceId, Seq, TeamId, Uid};
use mynah_store::testing::Wrapper;
use mynah_store::{
    Append, Appended, Conversations, Device, DeviceRegister, Done, DueJobs, History, JobId, JobOutcome,
    JobQuery, Message, Missed, Page, Read, ReadMark, Recall, Recalled, Span, Store, StoreError, StoreFuture,
    Stretch, TeamChange, TeamChanged, ToTell, Watcher, forward,
};

use crate::subject::{Clocks, Setup, Stores, Subject, Wait};

macro_rules! faults {
    ($($(#[doc = $what:literal])+ $fault:ident)*) => {
        /// A fault of a store.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[doc = $what])+ $fault,)*
        }

        impl Fault {
            /// All faults.
            pub const ALL: &[Self] = &[$(Self::$fault),*];
        }
    };
}

faults! {
    /// Answers every third append like the one before, and stores nothing.
    LosesAppend
    /// Returns the `seq` of the previous message for every third one.
    RepeatsSeq
    /// Does not recognise repeated sends by their `cid`.
    ForgetsCid
    /// Answers the messages of a call in reverse order.
    ReversesAnswers
    /// Accepts messages to a team from everybody.
    ForgetsMembersOnly
    /// Returns the members of a team at the commit without the last one.
    LosesMember
    /// Creates a team without one of its members.
    LosesTeamMember
    /// Creates no push jobs.
    LosesJob
    /// Finishes a job that must be retried.
    FinishesEveryJob
    /// Returns jobs that are not due.
    ShowsEveryJob
    /// Returns jobs that somebody else has claimed.
    ClaimsTwice
    /// Notifies users although they have acknowledged the message.
    TellsEverybody
    /// Does not make jobs due again.
    RevivesNothing
    /// Shows members messages from before they joined.
    IgnoresFloor
    /// Returns a page that has a successor as if it were the last one.
    EndsEarly
    /// Counts one unread message too many if there are any.
    CountsUnread
    /// Returns a cursor that is one too high.
    AdvancesCursor
    /// Lists conversations without the cursors of the device.
    ForgetsCursors
    /// Leaves out the last message that a device has missed.
    LosesMissed
    /// Does not report the teams that the user of a device has left.
    ForgetsDepartures
    /// Moves a read position backwards.
    ReadsBackwards
    /// Refuses to recall messages.
    RecallsNothing
    /// Forgets a revocation when it is closed.
    ForgetsRevocation
    /// Keeps the epoch when an older copy is opened.
    KeepsEpoch
    /// Has a new epoch after every start.
    ChangesEpoch
    /// Forgets devices when it is closed.
    ForgetsDevices
    /// Reports a message as appended after it was closed.
    AnswersWhenClosed
}

/// Stores with a fault.
pub struct Faulty {
    /// The correct stores.
    pub stores: &'static dyn Stores,
    /// The fault.
    pub fault: Fault,
}

impl Stores for Faulty {
    fn make(&self, setup: Setup, clocks: &Clocks) -> Box<dyn Subject> {
        let inner = self.stores.make(setup, clocks);
        let kept = Arc::new(Kept {
            fault: self.fault,
            first_epoch: inner.store().epoch().to_owned(),
            ..Kept::default()
        });
        let store = wrap(&inner, &kept);
        Box::new(FaultySubject { inner, kept, store })
    }
}

/// What a faulty store remembers across starts.
struct Kept {
    fault: Fault,
    first_epoch: String,
    starts: AtomicUsize,
    appended: AtomicUsize,
    closed: std::sync::atomic::AtomicBool,
    last: Mutex<Option<Appended>>,
    /// Devices that registered since the start.
    entered: Mutex<HashSet<Device>>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            fault: Fault::LosesAppend,
            first_epoch: String::new(),
            starts: AtomicUsize::new(0),
            appended: AtomicUsize::new(0),
            closed: std::sync::atomic::AtomicBool::new(false),
            last: Mutex::default(),
            entered: Mutex::default(),
        }
    }
}

struct FaultySubject {
    inner: Box<dyn Subject>,
    kept: Arc<Kept>,
    store: Arc<dyn Store>,
}

fn wrap(inner: &dyn Subject, kept: &Arc<Kept>) -> Arc<dyn Store> {
    let start = kept.starts.fetch_add(1, Ordering::Relaxed);
    kept.closed.store(false, Ordering::Relaxed);
    kept.entered.lock().unwrap().clear();
    let epoch = match kept.fault {
        Fault::KeepsEpoch => kept.first_epoch.clone(),
        Fault::ChangesEpoch => format!("{}{start}", kept.first_epoch),
        _ => inner.store().epoch().to_owned(),
    };
    Arc::new(FaultyStore {
        inner: inner.store().clone(),
        kept: kept.clone(),
        epoch,
        start,
    })
}

impl Subject for FaultySubject {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn open(&mut self, setup: Setup, clocks: &Clocks) {
        self.inner.open(setup, clocks);
        self.store = wrap(&self.inner, &self.kept);
    }

    fn crash<'a>(&'a mut self, setup: Setup, clocks: &'a Clocks) -> Wait<'a> {
        Box::pin(async move {
            self.inner.crash(setup, clocks).await;
            self.store = wrap(&self.inner, &self.kept);
        })
    }

    fn keep_copy(&mut self) {
        self.inner.keep_copy();
    }

    fn go_back(&mut self, setup: Setup, clocks: &Clocks) {
        self.inner.go_back(setup, clocks);
        self.store = wrap(&self.inner, &self.kept);
    }

    fn catch_up(&self) -> Wait<'_> {
        self.inner.catch_up()
    }
}

struct FaultyStore {
    inner: Arc<dyn Store>,
    kept: Arc<Kept>,
    epoch: String,
    /// The number of times that the store was opened before.
    start: usize,
}

impl FaultyStore {
    fn has(&self, fault: Fault) -> bool {
        self.kept.fault == fault
    }

    /// Appends one message. Returns `None` if it was answered although nothing is stored.
    fn spoil(&self, order: Arc<Append>, done: Done<Appended>) -> Option<(Arc<Append>, Done<Appended>)> {
        let mut order = Arc::unwrap_or_clone(order);
        let number = self.kept.appended.fetch_add(1, Ordering::Relaxed);
        let third = number % 3 == 2;
        if self.has(Fault::AnswersWhenClosed) && self.kept.closed.load(Ordering::Relaxed)
            || self.has(Fault::LosesAppend) && third
        {
            let last = self.kept.last.lock().unwrap().clone();
            if let Some(last) = last {
                done(Ok(last));
                return None;
            }
        }
        match self.kept.fault {
            Fault::ForgetsCid => order.cid = None,
            Fault::ForgetsMembersOnly => order.members_only = false,
            Fault::LosesJob => order.push = None,
            _ => {}
        }
        let kept = self.kept.clone();
        let told = move |told: Result<Appended, StoreError>| {
            done(told.map(|mut appended| {
                if kept.fault == Fault::RepeatsSeq && third {
                    appended.seq.0 -= 1;
                }
                if kept.fault == Fault::LosesMember {
                    appended.members = appended
                        .members
                        .map(|members| Arc::new(members[..members.len().saturating_sub(1)].to_vec()));
                }
                *kept.last.lock().unwrap() = Some(appended.clone());
                appended
            }));
        };
        Some((Arc::new(order), Box::new(told)))
    }
}

impl Wrapper for FaultyStore {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }
}

impl Store for FaultyStore {
    forward! {
        ack team release_jobs extend_leases job_counts members_page revoke change_setting certain_time healthy
    }

    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>) {
        let spoilt = messages.filter_map(|(order, done)| self.spoil(order, done));
        if !self.has(Fault::ReversesAnswers) {
            let spoilt: Vec<_> = spoilt.collect();
            return self.inner.append(&mut spoilt.into_iter());
        }
        // The last message that completes answers all of them, in reverse order.
        let (batch, dones): (Vec<_>, Vec<_>) = spoilt.unzip();
        let count = batch.len();
        let told = Arc::new(Mutex::new((Vec::new(), dones)));
        let mut batch = batch.into_iter().map(|order| {
            let told = told.clone();
            let done = move |outcome| {
                let mut told = told.lock().unwrap();
                told.0.push(outcome);
                if told.0.len() == count {
                    let (outcomes, dones) = std::mem::take(&mut *told);
                    for (outcome, done) in outcomes.into_iter().zip(dones).rev() {
                        done(outcome);
                    }
                }
            };
            (order, Box::new(done) as Done<_>)
        });
        self.inner.append(&mut batch);
    }

    fn change_team(&self, team: TeamId, mut change: TeamChange, done: Done<TeamChanged>) {
        if let TeamChange::Put { members, .. } = &mut change
            && self.has(Fault::LosesTeamMember)
        {
            members.pop();
        }
        self.inner.change_team(team, change, done);
    }

    fn register_device(&self, register: DeviceRegister, done: Done<()>) {
        self.kept.entered.lock().unwrap().insert(register.device.clone());
        self.inner.register_device(register, done);
    }

    fn read(&self, read: Read, done: Done<ReadMark>) {
        if !self.has(Fault::ReadsBackwards) {
            return self.inner.read(read, done);
        }
        let seq = read.seq;
        let told = move |told: Result<ReadMark, StoreError>| {
            done(told.map(|mark| ReadMark {
                seq: mark.seq.min(seq),
                ..mark
            }));
        };
        self.inner.read(read, Box::new(told));
    }

    fn recall(&self, recall: Recall, done: Done<Recalled>) {
        if !self.has(Fault::RecallsNothing) {
            return self.inner.recall(recall, done);
        }
        done(Err(StoreError::Conflict("it was taken back before")));
    }

    fn missed(&self, device: Device, conversations: u32, behind: u32) -> StoreFuture<'_, Missed> {
        Box::pin(async move {
            let mut missed = self.inner.missed(device, conversations, behind).await?;
            if self.has(Fault::AdvancesCursor) {
                missed
                    .conversations
                    .iter_mut()
                    .for_each(|it| it.cursor.0 = it.head.0.min(it.cursor.0 + 1));
            }
            if self.has(Fault::ForgetsDepartures) {
                missed.left.clear();
            }
            Ok(missed)
        })
    }

    fn replay(&self, uid: Uid, stretches: Vec<Stretch>, page: Page) -> StoreFuture<'_, Vec<Message>> {
        Box::pin(async move {
            let mut messages = self.inner.replay(uid, stretches, page).await?;
            if self.has(Fault::LosesMissed) {
                messages.pop();
            }
            Ok(messages)
        })
    }

    fn history(&self, conv: ConvId, viewer: Option<Uid>, span: Span, page: Page) -> StoreFuture<'_, History> {
        Box::pin(async move {
            let mut history = self.inner.history(conv, viewer, span, page).await?;
            if self.has(Fault::IgnoresFloor) {
                history = self.inner.history(conv, None, span, page).await?;
            }
            if self.has(Fault::EndsEarly) {
                history.more = false;
            }
            Ok(history)
        })
    }

    fn conversations(
        &self,
        uid: Uid,
        device: Option<DeviceId>,
        after: Option<String>,
        page: Page,
    ) -> StoreFuture<'_, Conversations> {
        let mut device = device;
        if let Some(name) = &device {
            let known = Device {
                uid: uid.clone(),
                device: name.clone(),
            };
            let forgets = self.has(Fault::ForgetsCursors)
                || self.has(Fault::ForgetsDevices)
                    && self.start > 0
                    && !self.kept.entered.lock().unwrap().contains(&known);
            if forgets {
                device = None;
            }
        }
        self.inner.conversations(uid, device, after, page)
    }

    fn unread(&self, uid: Uid) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let unread = self.inner.unread(uid).await?;
            Ok(unread + u64::from(self.has(Fault::CountsUnread) && unread > 0))
        })
    }

    fn claim_jobs(&self, query: JobQuery, lease_ms: u64) -> StoreFuture<'_, DueJobs> {
        let within_ms = if self.has(Fault::ShowsEveryJob) {
            u64::MAX
        } else {
            query.within_ms
        };
        let lease_ms = if self.has(Fault::ClaimsTwice) { 0 } else { lease_ms };
        self.inner.claim_jobs(JobQuery { within_ms, ..query }, lease_ms)
    }

    fn to_tell(&self, uid: Uid, conv: ConvId, seq: Seq) -> StoreFuture<'_, ToTell> {
        Box::pin(async move {
            let told = self.inner.to_tell(uid, conv, seq).await?;
            if let (true, ToTell::Acknowledged) = (self.has(Fault::TellsEverybody), &told) {
                let page = Page { most: 1, bytes: 1 };
                let history = self
                    .inner
                    .history(conv, None, Span::After(Seq(seq.0 - 1)), page)
                    .await?;
                return Ok(history
                    .messages
                    .into_iter()
                    .next()
                    .map_or(told, |it| ToTell::Yes(Box::new(it), 1)));
            }
            Ok(told)
        })
    }

    fn revive_jobs(&self, uid: Uid, within_ms: u64, done: Done<()>) {
        let within_ms = if self.has(Fault::RevivesNothing) {
            0
        } else {
            within_ms
        };
        self.inner.revive_jobs(uid, within_ms, done);
    }

    fn finish_jobs(&self, mut outcomes: Vec<(JobId, JobOutcome)>, done: Done<()>) {
        if self.has(Fault::FinishesEveryJob) {
            outcomes
                .iter_mut()
                .for_each(|(_, outcome)| *outcome = JobOutcome::Finished);
        }
        self.inner.finish_jobs(outcomes, done);
    }

    fn watch(&self, watcher: Watcher) {
        if self.has(Fault::ForgetsRevocation) && matches!(watcher, Watcher::Revocations(_)) {
            return;
        }
        self.inner.watch(watcher);
    }

    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.kept.closed.store(true, Ordering::Relaxed);
        self.inner.close()
    }
}
