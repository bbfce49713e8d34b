//! The contract of a store, which keeps the history, positions, teams and push jobs.
//!
//! Invariants: a message is one row in its conversation, whatever the number of recipients; `seq` counts 1,
//! 2, 3 ... in a conversation without gaps and is assigned by the append; the callbacks of a conversation are
//! called in commit order, after the commit is as durable as configured; a push job is created in the
//! transaction of its message.

pub mod fair;
pub mod follow;
pub mod ids;
mod jobs;
pub mod mids;
mod moment;
mod orders;
pub mod private;
mod record;
mod settings;
mod setup;
pub mod testing;
pub mod time;
pub mod transfer;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;

pub use self::jobs::{
    DueJobs, JobCounts, JobId, JobOutcome, JobQuery, JobRecipients, JobsFrom, Lane, PushJob, ToTell,
};
pub use self::orders::{
    Append, Appended, Device, DeviceRegister, MOST_DISPLACED, Members, Place, PushOrder, Read, ReadMark,
    Recall, Recalled, Revocation, Revoked, Team, TeamChange, TeamChanged, TeamNotice,
};
pub use self::record::{
    ConvKind, Conversation, Conversations, History, Message, Missed, Page, Position, Span, Stretch,
};
pub use self::settings::{Setting, SettingChange, Watcher};
pub use self::setup::{Durability, Observer};
use crate::ids::{ConvId, DeviceId, Seq, TeamId, Uid};
pub use crate::time::UnixMillis;

/// The result of a reading call.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why the store did not do what was requested. The variants say what the caller must do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The team, conversation or message does not exist: answer 404.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The user is not in the conversation, or may not do this: answer 403.
    #[error("{0}")]
    Forbidden(&'static str),
    /// It was done already, or something else prevents it: answer 409.
    #[error("{0}")]
    Conflict(&'static str),
    /// A limit of size is exceeded (members of a team): answer 413.
    #[error("{0}")]
    TooLarge(String),
    /// A limit of rate is exceeded (new conversations): answer 429.
    #[error("{0}")]
    TooFast(String),
    /// The store is full, broken, stopped or not reachable: answer 503. As far as the store knows, nothing
    /// was written. But if a connection to a database breaks during a commit, everything may have been
    /// written nevertheless. A message must therefore be repeated with the same `cid`. All other changes can
    /// be repeated: a recall is then refused because it was done, and a user may be notified twice.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// The error for a user who asks about a conversation of others, one that it has left, or one that does
    /// not exist. The error is the same in all cases: the ids of pairs and notices can be computed from uids,
    /// so different errors would reveal who has written to whom.
    pub const NOT_IN_IT: Self = Self::Forbidden("only users in this conversation may do that");

    /// The error for calls after [`Store::close`].
    pub fn stopped() -> Self {
        Self::Unavailable("it was stopped".to_owned())
    }

    /// The error for a change that makes a team larger than `max` members.
    pub fn too_many_members(max: usize) -> Self {
        Self::TooLarge(format!("a team has at most {max} members; use several teams"))
    }
}

/// A callback. It is called once with the result, on a thread of the store, and in commit order within a
/// conversation. It must not block.
pub type Done<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Passes a callback to `call`, and waits for the value with which the callback is called. Returns `None` if
/// the callback is dropped instead.
pub async fn called_back<T: Send + 'static>(call: impl FnOnce(Box<dyn FnOnce(T) + Send>)) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    // Nobody receives the value if this future was dropped.
    call(Box::new(move |value| drop(sender.send(value))));
    receiver.await.ok()
}

/// Calls a store, and waits for the result.
pub async fn outcome<T: Send + 'static>(call: impl FnOnce(Done<T>)) -> Result<T, StoreError> {
    let result = called_back(call).await;
    result.unwrap_or_else(|| Err(StoreError::stopped()))
}

/// A store. All methods may be called from any thread; none blocks.
///
/// Order is guaranteed per conversation: calls of one thread about a conversation are executed in the order
/// of the calls, and answered in the order of their commits, which is that of `seq`. Nothing is promised
/// about the order of two conversations. Calls about a user, a device or a token are executed after the
/// earlier calls of the same thread and before the later ones; this is what "in order with the appends" means
/// below.
pub trait Store: Send + Sync + 'static {
    /// Appends messages in order, in one transaction if possible. Each message succeeds or fails by itself.
    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>);

    /// Changes a team. Executed in order with the appends.
    fn change_team(&self, team: TeamId, change: TeamChange, done: Done<TeamChanged>);

    /// Registers a device. Unless the store knows it already, its cursors begin at the present heads. A
    /// user's devices are limited: the one that was inactive for the longest time is forgotten, but before
    /// all others those whose `deviceid` was not chosen by the client. Executed in order with the appends.
    fn register_device(&self, register: DeviceRegister, done: Done<()>);

    /// Acknowledges: a known device has everything in `conv` up to `seq`. Its cursor moves to `seq`, but
    /// never backwards and not beyond the head. Nothing is stored for an unknown device. Returns `seq`, or
    /// the head if that is less.
    ///
    /// A device of a user who has left a team may acknowledge what [`Store::missed`] lists of it. Fails with
    /// [`StoreError::Forbidden`] if the user is not in the conversation, and with [`StoreError::NotFound`] if
    /// it does not exist. A crash may lose the acknowledgement; the messages are then replayed once more.
    fn ack(&self, device: Device, conv: ConvId, seq: Seq, done: Done<Seq>);

    /// Moves a read position, and the device's cursor with it. Fails like [`Store::ack`]. Executed in order
    /// with the appends.
    fn read(&self, read: Read, done: Done<ReadMark>);

    /// Recalls a message: its payload is `null` from then on, it does not count as unread, and a message of
    /// its own announces the recall. Fails with [`StoreError::NotFound`] if there is no such message, with
    /// [`StoreError::Forbidden`] if somebody else has sent it, it is too old or its sender has left the team,
    /// and with [`StoreError::Conflict`] if it was recalled before.
    fn recall(&self, recall: Recall, done: Done<Recalled>);

    /// Returns what a known device has missed. Everything that the device acknowledged before it last
    /// registered is taken into account. Returns at most `conversations` positions, and at most `behind`
    /// stretches.
    fn missed(&self, device: Device, conversations: u32, behind: u32) -> StoreFuture<'_, Missed>;

    /// Returns the messages of these stretches in order, as far as `uid` may see them. Call it again for the
    /// messages after the last one.
    fn replay(&self, uid: Uid, stretches: Vec<Stretch>, page: Page) -> StoreFuture<'_, Vec<Message>>;

    /// Returns a team with its members.
    fn team(&self, team: TeamId) -> StoreFuture<'_, Option<Team>>;

    /// Reads a conversation. With a `viewer`, returns only what that user may see. Fails with
    /// [`StoreError::NotFound`] if there is no such conversation (or it was that of a deleted team). With a
    /// `viewer` it fails with [`StoreError::Forbidden`] instead, and also if the user is not in the
    /// conversation.
    fn history(&self, conv: ConvId, viewer: Option<Uid>, span: Span, page: Page) -> StoreFuture<'_, History>;

    /// Returns a user's conversations, newest first. Fails with [`StoreError::NotFound`] if `after` is
    /// invalid. With a `device`, its cursors include everything that it acknowledged before the call.
    fn conversations(
        &self,
        uid: Uid,
        device: Option<DeviceId>,
        after: Option<String>,
        page: Page,
    ) -> StoreFuture<'_, Conversations>;

    /// Returns the sum of `unread` over the user's conversations.
    fn unread(&self, uid: Uid) -> StoreFuture<'_, u64>;

    /// Claims push jobs that are due, ordered by `due` and id. Nobody else can claim them during a lease of
    /// `lease_ms`. The lease ends early when the outcome of the job is stored, or when the job is released.
    /// After the lease the job can be claimed again. If only one process uses a store, a restart may end all
    /// leases. Whether a job is due and when a lease ends is decided by the store's clock.
    fn claim_jobs(&self, query: JobQuery, lease_ms: u64) -> StoreFuture<'_, DueJobs>;

    /// Ends the leases of claimed jobs that nothing was done with. If this fails, they end by themselves.
    fn release_jobs(&self, jobs: Vec<JobId>);

    /// Makes the leases of all jobs that were claimed through this store end in `lease_ms` from now. If this
    /// fails, they end as before, and another node may notify a user once more. A caller therefore extends
    /// them several times during a lease.
    fn extend_leases(&self, lease_ms: u64);

    /// Counts the push jobs.
    fn job_counts(&self) -> StoreFuture<'_, JobCounts>;

    /// Returns whether `uid` must be notified of message `seq` of `conv` at present. An acknowledgement of
    /// the last one or two seconds may be missing.
    fn to_tell(&self, uid: Uid, conv: ConvId, seq: Seq) -> StoreFuture<'_, ToTell>;

    /// Makes jobs in [`Lane::Delivered`] due again for `uid`, if their messages were committed within the
    /// last `within_ms` before the call: the connection to which the messages were written was dead. Calls
    /// are urgent again. Begins after the earlier calls of the same thread, and may take several
    /// transactions, between which others write.
    fn revive_jobs(&self, uid: Uid, within_ms: u64, done: Done<()>);

    /// Stores the outcomes of jobs, in order, and ends the leases of these jobs. A team's job that has
    /// advanced stays claimed. This may happen some time after the call.
    fn finish_jobs(&self, outcomes: Vec<(JobId, JobOutcome)>, done: Done<()>);

    /// Returns the members after `after` for a team's push job, in order: those who were members when message
    /// `seq` was committed. The team is given by its conversation, because a team that is created later may
    /// have the same name. Returns nothing if the team was deleted.
    fn members_page(
        &self,
        conv: ConvId,
        seq: Seq,
        after: Option<Uid>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<Uid>>;

    /// Stores a revocation, or extends an existing one of the same tokens. Executed in order with the
    /// appends.
    fn revoke(&self, revocation: Revocation, done: Done<()>);

    /// Changes a setting in one transaction. `change` gets the present text, which is empty if the setting
    /// was never set, and returns the new one, or `None` to leave it unchanged.
    fn change_setting(&self, name: &str, change: SettingChange, done: Done<()>);

    /// Reports all settings and revocations to `watcher`, and then each change of them: a change of this node
    /// before its call is answered, and one of others within two seconds. Revocations from before the start
    /// are reported only to the first watcher, so that they are kept in memory only once.
    fn watch(&self, watcher: Watcher);

    /// Returns a time of day that has certainly passed, however wrong the machine's clock is. It may be
    /// behind by the time during which nothing was written.
    fn certain_time(&self) -> UnixMillis;

    /// Returns the epoch, which changes only when the history was replaced.
    fn epoch(&self) -> &str;

    /// Returns an error while writes fail (disk full, broken file), so that the server is not ready.
    fn healthy(&self) -> Result<(), StoreError>;

    /// Commits what is queued, then stops the store. Later calls fail with [`StoreError::Unavailable`].
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
