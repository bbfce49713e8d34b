//! A store that can be made to wait and to fail.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, Semaphore};

use crate::ids::{ConvId, DeviceId, Seq, TeamId, Uid};
use crate::store::{
    self, Append, Appended, Conversations, Done, DueJobs, History, JobCounts, JobId, JobOutcome, JobQuery,
    Message, Missed, Page, Read, ReadMark, Recall, Recalled, Revocation, SettingChange, Span, Store,
    StoreError, StoreFuture, Stretch, Team, TeamChange, TeamChanged, ToTell, Watcher,
};
use crate::time::UnixMillis;

/// A store that can be made to wait and to fail.
pub(crate) struct Troubled {
    store: Arc<dyn Store>,
    /// Counting unread messages takes a permit.
    pub(crate) unread: Arc<Semaphore>,
    /// A query for missed messages takes a permit.
    pub(crate) missed: Arc<Semaphore>,
    /// Notified at each query for missed messages.
    pub(crate) missed_asked: Arc<Notify>,
    /// While this is true, writes, replays and the health check fail.
    pub(crate) full: Arc<AtomicBool>,
}

impl Troubled {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            unread: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            missed: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            missed_asked: Arc::default(),
            full: Arc::default(),
        }
    }

    fn trouble(&self) -> Option<StoreError> {
        let full = self.full.load(Ordering::Relaxed);
        full.then(|| StoreError::Unavailable("no space left on the device".into()))
    }
}

impl Store for Troubled {
    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>) {
        match self.trouble() {
            Some(error) => messages.for_each(|(_, done)| done(Err(error.clone()))),
            None => self.store.append(messages),
        }
    }

    fn change_team(&self, team: TeamId, change: TeamChange, done: Done<TeamChanged>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.change_team(team, change, done),
        }
    }

    fn finish_jobs(&self, outcomes: Vec<(JobId, JobOutcome)>, done: Done<()>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.finish_jobs(outcomes, done),
        }
    }

    fn unread(&self, uid: Uid) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            self.unread.acquire().await.expect("never closed").forget();
            self.store.unread(uid).await
        })
    }

    fn register_device(&self, register: store::DeviceRegister, done: Done<()>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.register_device(register, done),
        }
    }

    fn ack(&self, device: store::Device, conv: ConvId, seq: Seq, done: Done<Seq>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.ack(device, conv, seq, done),
        }
    }

    fn read(&self, read: Read, done: Done<ReadMark>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.read(read, done),
        }
    }

    fn recall(&self, recall: Recall, done: Done<Recalled>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.recall(recall, done),
        }
    }

    fn missed(&self, device: store::Device, conversations: u32, behind: u32) -> StoreFuture<'_, Missed> {
        Box::pin(async move {
            self.missed_asked.notify_one();
            self.missed.acquire().await.expect("never closed").forget();
            self.store.missed(device, conversations, behind).await
        })
    }

    fn replay(&self, uid: Uid, stretches: Vec<Stretch>, page: Page) -> StoreFuture<'_, Vec<Message>> {
        match self.trouble() {
            Some(error) => Box::pin(async { Err(error) }),
            None => self.store.replay(uid, stretches, page),
        }
    }

    fn team(&self, team: TeamId) -> StoreFuture<'_, Option<Team>> {
        self.store.team(team)
    }

    fn history(&self, conv: ConvId, viewer: Option<Uid>, span: Span, page: Page) -> StoreFuture<'_, History> {
        self.store.history(conv, viewer, span, page)
    }

    fn conversations(
        &self,
        uid: Uid,
        device: Option<DeviceId>,
        after: Option<String>,
        page: Page,
    ) -> StoreFuture<'_, Conversations> {
        self.store.conversations(uid, device, after, page)
    }

    fn claim_jobs(&self, query: JobQuery, lease_ms: u64) -> StoreFuture<'_, DueJobs> {
        self.store.claim_jobs(query, lease_ms)
    }

    fn release_jobs(&self, jobs: Vec<JobId>) {
        self.store.release_jobs(jobs);
    }

    fn extend_leases(&self, lease_ms: u64) {
        self.store.extend_leases(lease_ms);
    }

    fn job_counts(&self) -> StoreFuture<'_, JobCounts> {
        self.store.job_counts()
    }

    fn to_tell(&self, uid: Uid, conv: ConvId, seq: Seq) -> StoreFuture<'_, ToTell> {
        self.store.to_tell(uid, conv, seq)
    }

    fn revive_jobs(&self, uid: Uid, within_ms: u64, done: Done<()>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.revive_jobs(uid, within_ms, done),
        }
    }

    fn members_page(
        &self,
        conv: ConvId,
        seq: Seq,
        after: Option<Uid>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<Uid>> {
        self.store.members_page(conv, seq, after, limit)
    }

    fn revoke(&self, revocation: Revocation, done: Done<()>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.revoke(revocation, done),
        }
    }

    fn change_setting(&self, name: &str, change: SettingChange, done: Done<()>) {
        self.store.change_setting(name, change, done);
    }

    fn watch(&self, watcher: Watcher) {
        self.store.watch(watcher);
    }

    fn certain_time(&self) -> UnixMillis {
        self.store.certain_time()
    }

    fn epoch(&self) -> &str {
        self.store.epoch()
    }

    fn healthy(&self) -> Result<(), StoreError> {
        self.trouble().map_or_else(|| self.store.healthy(), Err)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.close()
    }
}
