//! The chat record: what a store promises, whatever keeps it.
//!
//! Invariants: a message is one row in its conversation's log, whatever the number of recipients; `seq` counts 1, 2, 3 ...
//! inside a conversation without gaps and comes from the append; completions run in commit order, after the commit is as
//! durable as configured; a push job is made in the transaction of its message.

pub mod fair;
pub mod ids;
mod jobs;
mod orders;
pub mod private;
mod record;
mod setup;
pub mod time;

use std::future::Future;
use std::pin::Pin;

pub use self::jobs::{DueJobs, JobCounts, JobId, JobOutcome, JobRecipients, Lane, PushJob, ToTell};
pub use self::orders::{
    Append, Appended, Device, Entry, MOST_DISPLACED, Members, Place, PushOrder, Read, ReadMark, Recall,
    Recalled, Revocation, Revoked, Team, TeamChange, TeamChanged, TeamNotice,
};
pub use self::record::{
    ConvKind, Conversation, Conversations, History, Message, Missed, Page, Position, Span, Stretch,
};
pub use self::setup::{Durability, Observer};
use crate::ids::{ConvId, DeviceId, Seq, TeamId, Uid};
pub use crate::time::UnixMillis;

/// What a store's reading calls return.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why the store did not do what was asked, shaped by what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No such team, conversation or message: answer 404.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The asker is not a participant, or may not do this: answer 403.
    #[error("{0}")]
    Forbidden(&'static str),
    /// It was done already, or something else is in the way: answer 409.
    #[error("{0}")]
    Conflict(&'static str),
    /// More than a limit allows (members of a team): answer 413.
    #[error("{0}")]
    TooLarge(String),
    /// More often than a limit allows (pairs begun): answer 429.
    #[error("{0}")]
    TooFast(String),
    /// The disk is full, or the store is broken or stopped: answer 503, nothing was written.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// The answer to a user who asks about a conversation of others, one that it has left, or one that does
    /// not exist. All of these get the same answer: the ids of pairs and notices can be computed from uids,
    /// so a different answer would tell who has written to whom.
    pub const NOT_IN_IT: Self = Self::Forbidden("only those who are in this conversation may do that");

    /// The answer to a change that makes a team larger than `max` members.
    pub fn too_many_members(max: usize) -> Self {
        Self::TooLarge(format!("a team has at most {max} members; make several teams"))
    }
}

/// Called once with the outcome, on a thread of the store, in commit order; must not block.
pub type Done<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Keeps the chat record. All methods may be called from any thread; none blocks.
pub trait Store: Send + Sync + 'static {
    /// Appends `batch` in order, in one transaction where possible; each message succeeds or fails by itself. Calls of one
    /// thread are kept in their order.
    fn append(&self, batch: Vec<(Append, Done<Appended>)>);

    /// Changes a team, in order with the appends.
    fn change_team(&self, team: TeamId, change: TeamChange, done: Done<TeamChanged>);

    /// Makes a device known: it starts at the heads of this moment, unless it is known already. A user's devices are bounded; the one that
    /// did nothing for longest is forgotten, and before all others those that no client has named itself. In order with the appends.
    fn enter(&self, entry: Entry, done: Done<()>);

    /// A known device has everything in `conv` up to `seq`: its cursor goes there, never backwards and not beyond the head. Of a
    /// device that is not known nothing is kept. The outcome is `seq`, or the head if that is less. [`StoreError::NotFound`] when there is no such conversation,
    /// [`StoreError::Forbidden`] when the user is not in it. A crash may lose it: the messages are then replayed once more.
    /// A device of a user who has left a team may acknowledge what [`Store::missed`] names of it.
    fn ack(&self, device: Device, conv: ConvId, seq: Seq, done: Done<Seq>);

    /// Moves a read position, and the device's cursor with it; refused as [`Store::ack`]. In order with the appends.
    fn read(&self, read: Read, done: Done<ReadMark>);

    /// Takes a message back: its payload is shown as `null` from then on, nobody's unread counts it, and a message of its own tells of
    /// it. [`StoreError::NotFound`] when there is no such message, [`StoreError::Forbidden`] when it is another's or too old or its
    /// sender has left, [`StoreError::Conflict`] when it was taken back before.
    fn recall(&self, recall: Recall, done: Done<Recalled>);

    /// What a known device has missed; everything that it acknowledged before it last entered counts. Names at most `conversations` of these
    /// and `behind` of those.
    fn missed(&self, device: Device, conversations: u32, behind: u32) -> StoreFuture<'_, Missed>;

    /// The messages of these stretches in order, as far as `uid` may see them. Ask again for what comes after the last.
    fn replay(&self, uid: Uid, stretches: Vec<Stretch>, page: Page) -> StoreFuture<'_, Vec<Message>>;

    /// A team, with its members.
    fn team(&self, team: TeamId) -> StoreFuture<'_, Option<Team>>;

    /// Reads a conversation. [`StoreError::NotFound`] when there is none (a deleted team's counts as none). With a `viewer`, only what that
    /// user may see, and [`StoreError::Forbidden`] when the user is not in the conversation or it does not exist.
    fn history(&self, conv: ConvId, viewer: Option<Uid>, span: Span, page: Page) -> StoreFuture<'_, History>;

    /// A user's conversations, newest first. A bad `after` is [`StoreError::NotFound`]. With a `device`, its cursors, with everything
    /// that was acknowledged before the call.
    fn conversations(
        &self,
        uid: Uid,
        device: Option<DeviceId>,
        after: Option<String>,
        page: Page,
    ) -> StoreFuture<'_, Conversations>;

    /// The sum of `unread` over the user's conversations.
    fn unread(&self, uid: Uid) -> StoreFuture<'_, u64>;

    /// Push jobs of a lane that are due at `now` (of the steady clock), in the order of `due` and then id, beginning behind `after`; at most `limit`.
    fn due_jobs(
        &self,
        lane: Lane,
        after: (UnixMillis, JobId),
        now: UnixMillis,
        limit: u32,
    ) -> StoreFuture<'_, DueJobs>;

    /// The first of one user's jobs that are due at `now` in this lane.
    fn due_jobs_of(&self, uid: Uid, lane: Lane, now: UnixMillis, limit: u32)
    -> StoreFuture<'_, Vec<PushJob>>;

    /// Counts the push jobs.
    fn job_counts(&self) -> StoreFuture<'_, JobCounts>;

    /// Whether `uid` is to be notified of message `seq` of `conv` at present. An acknowledgement of the last
    /// one or two seconds may not be included.
    fn to_tell(&self, uid: Uid, conv: ConvId, seq: Seq) -> StoreFuture<'_, ToTell>;

    /// Makes jobs in [`Lane::Delivered`] due again for `uid`, those of messages that were committed after
    /// `since`: the connection to which they were written was dead. Calls are executed in order.
    fn revive_jobs(&self, uid: Uid, since: UnixMillis, done: Done<()>);

    /// Writes down what became of jobs; later than the call, in order.
    fn finish_jobs(&self, outcomes: Vec<(JobId, JobOutcome)>, done: Done<()>);

    /// For a team's push job: those members after `after`, in order, who were members when message `seq` was
    /// written. By conversation, so that a
    /// team of the same name made later is another one; empty when the team was deleted.
    fn members_page(
        &self,
        conv: ConvId,
        seq: Seq,
        after: Option<Uid>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<Uid>>;

    /// Remembers a revocation; one of the same tokens that is there grows with it. In order with the appends.
    fn revoke(&self, revocation: Revocation, done: Done<()>);

    /// Every revocation that was still needed when the store was opened. Given to the first who asks: what comes later is known to whoever
    /// revokes.
    fn revocations(&self) -> Vec<Revocation>;

    /// A time of day that has certainly passed, however wrong the machine's clock is. It may be behind by the
    /// time during which nothing was written.
    fn certain_time(&self) -> UnixMillis;

    /// Changes only when the history was replaced.
    fn epoch(&self) -> &str;

    /// `Err` while writes fail (disk full, broken file): readiness.
    fn healthy(&self) -> Result<(), StoreError>;

    /// Commits what is queued, then stops; later calls fail with [`StoreError::Unavailable`].
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
