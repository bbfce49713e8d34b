//! Push jobs.
//!
//! Their times are durations from the moment of the call, in milliseconds, which the store measures with a
//! clock of its own: the processes that share a store need not agree about the time. A time of day that is
//! set delays and expires nothing. The clock of a store on another machine is read up to a round trip later
//! than the call.

use super::Message;
use crate::ids::{ConvId, Mid, Seq, Uid};
use crate::time::UnixMillis;

/// The id of a push job, which is meaningful only in its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub i64);

/// The queue in which a push job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Jobs of urgent kinds, such as calls.
    Urgent = 0,
    /// Jobs of all other kinds.
    Normal = 1,
    /// Jobs whose message was written to a connection that counts as having received it. They wait until it
    /// is certain that the connection was alive: see [`Store::revive_jobs`](super::Store::revive_jobs).
    Delivered = 2,
}

/// A push job. It refers to its message and does not contain it: the payload is read only for an attempt.
#[derive(Debug, Clone)]
pub struct PushJob {
    /// The job's id.
    pub id: JobId,
    /// The message's id.
    pub mid: Mid,
    /// The message's conversation.
    pub conv: ConvId,
    /// The message's number there.
    pub seq: Seq,
    /// The message's sender.
    pub from: Option<Uid>,
    /// The remaining recipients.
    pub to: JobRecipients,
    /// Failed attempts so far.
    pub attempts: u32,
    /// The time since the message was committed.
    pub age_ms: u64,
    /// The time during which an attempt may still begin; 0 if the job has expired.
    pub expires_in_ms: u64,
    /// The time of the store's clock at which the job is due. Callers use it only for [`JobsFrom::After`].
    pub due: UnixMillis,
}

/// The recipients of a push job.
#[derive(Debug, Clone)]
pub enum JobRecipients {
    /// One user.
    User(Uid),
    /// The members of the conversation's team after this uid in order (all members if `None`), without the
    /// sender.
    Team(Option<Uid>),
}

/// The outcome of handling a push job.
#[derive(Debug, Clone)]
pub enum JobOutcome {
    /// Nothing is left to do, and the row is deleted.
    Finished,
    /// Progress of a team's job: members up to this one were handled, and some of them get jobs of their own.
    Advanced {
        /// The last member that was handled.
        after: Uid,
        /// The members with jobs of their own, and the time until these are due. They are not due before the
        /// team's job.
        jobs: Vec<(Uid, u64)>,
    },
    /// An attempt failed and must be retried.
    Retry {
        /// The time until the retry.
        in_ms: u64,
    },
    /// No attempt was made; the job must be checked again.
    Later {
        /// The time until the check.
        in_ms: u64,
    },
    /// The job moves to [`Lane::Delivered`].
    Delivered {
        /// The time until the job may be finished.
        for_ms: u64,
    },
    /// The job is kept, but not retried.
    Dead,
}

impl JobOutcome {
    /// Returns the time until the job must be checked again.
    pub fn due_again_ms(&self) -> Option<u64> {
        match self {
            Self::Retry { in_ms } | Self::Later { in_ms } => Some(*in_ms),
            Self::Finished | Self::Advanced { .. } | Self::Delivered { .. } | Self::Dead => None,
        }
    }
}

/// The jobs that [`Store::claim_jobs`](super::Store::claim_jobs) claims.
#[derive(Debug, Clone)]
pub struct JobQuery {
    /// Jobs of this lane.
    pub lane: Lane,
    /// Only jobs for this user.
    pub uid: Option<Uid>,
    /// Where to begin.
    pub from: JobsFrom,
    /// Jobs that are due within this time; 0 for those that are due now.
    pub within_ms: u64,
    /// The maximum number of jobs.
    pub limit: u32,
}

impl JobQuery {
    /// All jobs of a lane that are due now, up to `limit`.
    pub fn due(lane: Lane, limit: u32) -> Self {
        Self {
            lane,
            uid: None,
            from: JobsFrom::DueSince(u64::MAX),
            within_ms: 0,
            limit,
        }
    }
}

/// Where a claim begins in the order of jobs, which is that of `due` and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobsFrom {
    /// Begins with the jobs that became due within this number of milliseconds before the call.
    DueSince(u64),
    /// Begins after the job with this [`PushJob::due`] and id.
    After(UnixMillis, JobId),
}

/// The result of [`Store::claim_jobs`](super::Store::claim_jobs).
#[derive(Debug, Clone, Default)]
pub struct DueJobs {
    /// The jobs that are due, ordered by `due` and `id`.
    pub jobs: Vec<PushJob>,
    /// The time until the next job is due, of those that are due later than was requested.
    pub next_in_ms: Option<u64>,
}

/// The numbers of push jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Pending jobs, without those in [`Lane::Delivered`].
    pub waiting: u64,
    /// Jobs that are kept as dead. No more than [`JobCounts::MOST_DEAD`] are counted.
    pub dead: u64,
}

impl JobCounts {
    /// The maximum number of dead jobs that are counted, because nothing limits how many there are.
    pub const MOST_DEAD: u32 = 10_000;
}

/// Whether a user must still be notified of a message.
#[derive(Debug, Clone)]
pub enum ToTell {
    /// Yes: the message, and the user's number of unread messages in all conversations.
    Yes(Box<Message>, u64),
    /// No: one of the user's devices has acknowledged it, or the user has read it.
    Acknowledged,
    /// No: the message was recalled, the user has left the team, the team was deleted, or the video call has
    /// ended.
    Moot,
}
