//! The chat record: what a store promises, whatever keeps it.
//!
//! Invariants: a message is one row in its conversation's log, whatever the number of recipients; `seq` counts 1, 2, 3 ...
//! inside a conversation without gaps and comes from the append; completions run in commit order, after the commit is as
//! durable as configured; a push job is made in the transaction of its message.

pub mod embedded;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::ids::{Cid, ConvId, Mid, PairClass, Seq, TeamId, Uid};

/// Milliseconds since 1970 (Unix time).
pub type UnixMillis = u64;

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
    /// The disk is full, or the store is broken or stopped: answer 503, nothing was written.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// Where a message goes, before its conversation is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Between two users; they may be the same.
    Pair {
        /// Which of their conversations.
        class: PairClass,
        /// The one it is sent to.
        to: Uid,
    },
    /// A user's notices.
    Notices(Uid),
    /// A team.
    Team(TeamId),
}

/// A push notification to make of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushOrder {
    /// No attempt begins later than this.
    pub expires: UnixMillis,
}

/// A message to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// Where to. A pair needs `from`.
    pub place: Place,
    /// The kind's number.
    pub kind: u16,
    /// Whether it counts as unread.
    pub counts: bool,
    /// The sender.
    pub from: Option<Uid>,
    /// Refuse with [`StoreError::Forbidden`] unless `from` is a member of the team.
    pub members_only: bool,
    /// Deduplicates by (sender, conversation, `cid`) within the store's window.
    pub cid: Option<Cid>,
    /// The payload, as it came.
    pub data: Arc<RawValue>,
    /// A push job to make in the same transaction; its recipients are the pair's other user, the notices' uid, or the
    /// team's members without the sender.
    pub push: Option<PushOrder>,
}

/// A team's members at one moment: sorted, without duplicates, shared by all messages committed meanwhile.
pub type Members = Arc<Vec<Uid>>;

/// What became of an [`Append`].
#[derive(Debug, Clone)]
pub struct Appended {
    /// The conversation.
    pub conv: ConvId,
    /// The message's number in it.
    pub seq: Seq,
    /// The message's id.
    pub mid: Mid,
    /// The server's time; never decreases inside a conversation.
    pub ts: UnixMillis,
    /// The same `cid` was there before: these are the first message's values, and nothing was written.
    pub duplicate: bool,
    /// A team's members at the commit; `None` for pairs, notices and duplicates.
    pub members: Option<Members>,
    /// The push job that was made: who has reached its only recipient already may finish it without reading it.
    pub push: Option<JobId>,
}

/// Called once with the outcome, on a thread of the store, in commit order; must not block.
pub type Done<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// A change to a team.
#[derive(Debug, Clone)]
pub enum TeamChange {
    /// Creates the team (sends nothing), or replaces its name and members (one 16 / 17 for each difference).
    Put {
        /// Shown to people.
        name: String,
        /// Any order, duplicates allowed.
        members: Vec<Uid>,
    },
    /// Adds members; one 16 for each that was none.
    Add(Vec<Uid>),
    /// Removes members; one 17 for each that was one.
    Remove(Vec<Uid>),
    /// Deletes the team; its conversation is closed to everyone.
    Delete,
}

/// A team.
#[derive(Debug, Clone)]
pub struct Team {
    /// Its key.
    pub team: TeamId,
    /// Shown to people.
    pub name: String,
    /// Its conversation.
    pub conv: ConvId,
    /// Its members.
    pub members: Members,
}

/// A 16 or 17 that a [`TeamChange`] wrote.
#[derive(Debug, Clone)]
pub struct TeamNotice {
    /// 16 or 17.
    pub kind: u16,
    /// Who entered or left.
    pub uid: Uid,
    /// `{"team","uid"}`.
    pub data: Arc<RawValue>,
    /// The message's number.
    pub seq: Seq,
    /// The message's id.
    pub mid: Mid,
    /// The server's time.
    pub ts: UnixMillis,
}

/// What a [`TeamChange`] did.
#[derive(Debug, Clone)]
pub struct TeamChanged {
    /// The team after the change (before it, when deleted).
    pub team: Team,
    /// The team was made by this change.
    pub created: bool,
    /// In `seq` order. All go to the members after the change; a 17 also to the one who left.
    pub notices: Vec<TeamNotice>,
}

/// What sort of conversation it is, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConvKind {
    /// Between two users.
    Pair(PairClass, Uid, Uid),
    /// A user's notices.
    Notices(Uid),
    /// A team's, or a deleted team's.
    Team(TeamId),
}

/// A stored message.
#[derive(Debug, Clone)]
pub struct Message {
    /// The kind's number.
    pub kind: u16,
    /// The payload; `null` when recalled.
    pub data: Arc<RawValue>,
    /// The message's id.
    pub mid: Mid,
    /// Its conversation.
    pub conv: ConvId,
    /// Its number there.
    pub seq: Seq,
    /// The sender.
    pub from: Option<Uid>,
    /// The sender's id for it.
    pub cid: Option<Cid>,
    /// The server's time.
    pub ts: UnixMillis,
    /// Its sender took it back.
    pub recalled: bool,
}

/// Which part of a conversation to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// After this number, ascending.
    After(Seq),
    /// Before this number, descending (newest first).
    Before(Seq),
}

/// A part of a conversation.
#[derive(Debug, Clone)]
pub struct History {
    /// In the order asked for.
    pub messages: Vec<Message>,
    /// The newest message's number.
    pub head: Seq,
    /// There is more in this direction.
    pub more: bool,
}

/// A line of a user's list of conversations.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The conversation.
    pub conv: ConvId,
    /// What sort, and whose.
    pub kind: ConvKind,
    /// The newest message's number.
    pub head: Seq,
    /// Read by the user up to here.
    pub read: Seq,
    /// Messages of kinds that count, after `read`, not from the user itself, not recalled.
    pub unread: u64,
    /// The newest message.
    pub last: Option<Message>,
}

/// A page of a user's conversations, newest first.
#[derive(Debug, Clone)]
pub struct Conversations {
    /// Newest first.
    pub conversations: Vec<Conversation>,
    /// Give it as `after` to get the next page; `None` at the end.
    pub next: Option<String>,
}

/// A push job's row number; local to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub i64);

/// A push job that is due.
#[derive(Debug, Clone)]
pub struct PushJob {
    /// Its row.
    pub id: JobId,
    /// The message it is about.
    pub message: Message,
    /// To whom, from where it stopped.
    pub to: JobRecipients,
    /// Failed attempts so far.
    pub attempts: u32,
    /// No attempt begins later than this.
    pub expires: UnixMillis,
}

/// Whom a push job is for.
#[derive(Debug, Clone)]
pub enum JobRecipients {
    /// One user.
    User(Uid),
    /// A team's members after this uid in order (all when `None`), without the sender.
    Team(TeamId, Option<Uid>),
}

/// What becomes of a push job.
#[derive(Debug, Clone)]
pub enum JobOutcome {
    /// Nothing left to do: the row goes.
    Finished,
    /// A team's job got this far; `failed` become jobs of their own, due at `retry_at`.
    Advanced {
        /// The last uid worked off.
        after: Uid,
        /// Those whose notification failed.
        failed: Vec<Uid>,
        /// When theirs are tried again.
        retry_at: UnixMillis,
    },
    /// To be tried again.
    Retry {
        /// Not before this.
        at: UnixMillis,
    },
    /// Kept, and not tried again.
    Dead,
}

/// Keeps the chat record. All methods may be called from any thread; none blocks.
pub trait Store: Send + Sync + 'static {
    /// Appends `batch` in order, in one transaction where possible; each message succeeds or fails by itself. Calls of one
    /// thread are kept in their order.
    fn append(&self, batch: Vec<(Append, Done<Appended>)>);

    /// Changes a team, in order with the appends.
    fn change_team(&self, team: TeamId, change: TeamChange, done: Done<TeamChanged>);

    /// A team, with its members.
    fn team(&self, team: TeamId) -> StoreFuture<'_, Option<Team>>;

    /// Reads a conversation; `limit` is 1 to 500. [`StoreError::NotFound`] when there is none (a deleted team's counts as none).
    fn history(&self, conv: ConvId, span: Span, limit: u32) -> StoreFuture<'_, History>;

    /// A user's conversations, newest first; `limit` is 1 to 500. A bad `after` is [`StoreError::NotFound`].
    fn conversations(&self, uid: Uid, after: Option<String>, limit: u32) -> StoreFuture<'_, Conversations>;

    /// The sum of `unread` over the user's conversations.
    fn unread(&self, uid: Uid) -> StoreFuture<'_, u64>;

    /// What `unread` was for `uid` when `job`'s message was committed, as far as its own conversation goes: later messages of that
    /// conversation are not counted.
    fn unread_at(&self, uid: Uid, conv: ConvId, seq: Seq) -> StoreFuture<'_, u64>;

    /// Push jobs due at `now`, oldest first, without those in `busy`, and when the next one is due.
    fn due_jobs(&self, now: UnixMillis, busy: Vec<JobId>, limit: u32) -> StoreFuture<'_, DueJobs>;

    /// Writes down what became of jobs; later than the call, in order.
    fn finish_jobs(&self, outcomes: Vec<(JobId, JobOutcome)>, done: Done<()>);

    /// For a team's push job: those members after `after`, in order, who may see message `seq`. By conversation, so that a
    /// team of the same name made later is another one; empty when the team was deleted.
    fn members_page(
        &self,
        conv: ConvId,
        seq: Seq,
        after: Option<Uid>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<Uid>>;

    /// Changes only when the history was replaced.
    fn epoch(&self) -> &str;

    /// `Err` while writes fail (disk full, broken file): readiness.
    fn healthy(&self) -> Result<(), StoreError>;

    /// Commits what is queued, then stops; later calls fail with [`StoreError::Unavailable`].
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What [`Store::due_jobs`] found.
#[derive(Debug, Clone, Default)]
pub struct DueJobs {
    /// Due now.
    pub jobs: Vec<PushJob>,
    /// When the earliest of the others is due.
    pub next: Option<UnixMillis>,
    /// Jobs kept as dead.
    pub dead: u64,
}
