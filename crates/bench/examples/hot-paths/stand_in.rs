//! A store that keeps nothing and agrees at once, to measure what a message costs without the store.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mynah::ids::{ConvId, DeviceId, Mid, Seq, TeamId, Uid};
use mynah::store::{
    Append, Appended, Conversations, Device, DeviceRegister, Done, DueJobs, History, JobCounts, JobId,
    JobOutcome, JobQuery, Members, Message, Missed, Page, Place, Read, ReadMark, Recall, Recalled,
    Revocation, SettingChange, Span, Store, StoreError, StoreFuture, Stretch, Team, TeamChange, TeamChanged,
    ToTell, Watcher,
};

/// The stand-in, in which every team has the same members.
pub(crate) struct StandIn {
    members: Members,
    mid: Mid,
    /// Starts at a number with as many digits as at the end.
    seq: AtomicU64,
}

impl StandIn {
    pub(crate) fn new(members: Vec<Uid>) -> Self {
        Self {
            members: Arc::new(members),
            mid: Mid::parse("01a2b3c4-d5e6-7788-99aa-bbccddeeff00").expect("a mid"),
            seq: AtomicU64::new(100_000),
        }
    }

    fn appended(&self, append: &Append) -> Appended {
        Appended {
            conv: ConvId([7; 16]),
            seq: Seq(self.seq.fetch_add(1, Ordering::Relaxed)),
            mid: self.mid,
            ts: 1_790_000_000_000,
            duplicate: false,
            members: matches!(append.place, Place::Team(_)).then(|| self.members.clone()),
            push: None,
            numbers: None,
        }
    }
}

fn absent() -> StoreError {
    StoreError::Unavailable("the stand-in stores nothing".into())
}

fn later<'a, T: Send + 'a>(result: Result<T, StoreError>) -> StoreFuture<'a, T> {
    Box::pin(std::future::ready(result))
}

impl Store for StandIn {
    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>) {
        for (append, done) in messages {
            done(Ok(self.appended(&append)));
        }
    }

    fn change_team(&self, _: TeamId, _: TeamChange, done: Done<TeamChanged>) {
        done(Err(absent()));
    }

    fn register_device(&self, _: DeviceRegister, done: Done<()>) {
        done(Ok(()));
    }

    fn ack(&self, _: Device, _: ConvId, seq: Seq, done: Done<Seq>) {
        done(Ok(seq));
    }

    fn read(&self, _: Read, done: Done<ReadMark>) {
        done(Err(absent()));
    }

    fn recall(&self, _: Recall, done: Done<Recalled>) {
        done(Err(absent()));
    }

    fn missed(&self, _: Device, _: u32, _: u32) -> StoreFuture<'_, Missed> {
        later(Ok(Missed::default()))
    }

    fn replay(&self, _: Uid, _: Vec<Stretch>, _: Page) -> StoreFuture<'_, Vec<Message>> {
        later(Ok(Vec::new()))
    }

    fn team(&self, _: TeamId) -> StoreFuture<'_, Option<Team>> {
        later(Ok(None))
    }

    fn history(&self, _: ConvId, _: Option<Uid>, _: Span, _: Page) -> StoreFuture<'_, History> {
        later(Err(absent()))
    }

    fn conversations(
        &self,
        _: Uid,
        _: Option<DeviceId>,
        _: Option<String>,
        _: Page,
    ) -> StoreFuture<'_, Conversations> {
        later(Err(absent()))
    }

    fn unread(&self, _: Uid) -> StoreFuture<'_, u64> {
        later(Ok(0))
    }

    fn claim_jobs(&self, _: JobQuery, _: u64) -> StoreFuture<'_, DueJobs> {
        later(Ok(DueJobs::default()))
    }

    fn release_jobs(&self, _: Vec<JobId>) {}

    fn extend_leases(&self, _: u64) {}

    fn job_counts(&self) -> StoreFuture<'_, JobCounts> {
        later(Ok(JobCounts::default()))
    }

    fn to_tell(&self, _: Uid, _: ConvId, _: Seq) -> StoreFuture<'_, ToTell> {
        later(Ok(ToTell::Moot))
    }

    fn revive_jobs(&self, _: Uid, _: u64, done: Done<()>) {
        done(Ok(()));
    }

    fn finish_jobs(&self, _: Vec<(JobId, JobOutcome)>, done: Done<()>) {
        done(Ok(()));
    }

    fn members_page(&self, _: ConvId, _: Seq, _: Option<Uid>, _: u32) -> StoreFuture<'_, Vec<Uid>> {
        later(Ok(Vec::new()))
    }

    fn revoke(&self, _: Revocation, done: Done<()>) {
        done(Err(absent()));
    }

    fn change_setting(&self, _: &str, _: SettingChange, done: Done<()>) {
        done(Err(absent()));
    }

    fn watch(&self, _: Watcher) {}

    fn certain_time(&self) -> u64 {
        0
    }

    fn epoch(&self) -> &str {
        "none"
    }

    fn healthy(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}
