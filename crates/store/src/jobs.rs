//! Push jobs.

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
    /// When the message was committed.
    pub made: UnixMillis,
    /// Time before which the job is not due.
    pub due: UnixMillis,
    /// Time after which no attempt begins.
    pub expires: UnixMillis,
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
        /// The members with jobs of their own, and when these are due.
        jobs: Vec<(Uid, UnixMillis)>,
    },
    /// An attempt failed and must be retried.
    Retry {
        /// Time of the retry.
        at: UnixMillis,
    },
    /// No attempt was made; the job must be checked again.
    Later {
        /// Time of the check.
        at: UnixMillis,
    },
    /// The job moves to [`Lane::Delivered`].
    Delivered {
        /// Time at which the job may be finished.
        until: UnixMillis,
    },
    /// The job is kept, but not retried.
    Dead,
}

impl JobOutcome {
    /// Returns when the job must be checked again.
    pub fn due_again(&self) -> Option<UnixMillis> {
        match self {
            Self::Retry { at } | Self::Later { at } => Some(*at),
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
    /// Jobs after this position in the order of `due` and id.
    pub after: (UnixMillis, JobId),
    /// Jobs that are due at this time of the steady clock.
    pub now: UnixMillis,
    /// The maximum number of jobs.
    pub limit: u32,
}

/// The result of [`Store::claim_jobs`](super::Store::claim_jobs).
#[derive(Debug, Clone, Default)]
pub struct DueJobs {
    /// The jobs that are due, ordered by `due` and `id`.
    pub jobs: Vec<PushJob>,
    /// When the next job is due, of those that are not due yet.
    pub next: Option<UnixMillis>,
}

/// The numbers of push jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Pending jobs, without those in [`Lane::Delivered`].
    pub waiting: u64,
    /// Jobs that are kept as dead.
    pub dead: u64,
}

/// Whether a user must still be notified of a message.
#[derive(Debug, Clone)]
pub enum ToTell {
    /// Yes: the message, and the user's number of unread messages in all conversations.
    Yes(Box<Message>, u64),
    /// No: one of the user's devices has acknowledged it, or the user has read it.
    Acknowledged,
    /// No: the message was recalled, the user has left the team, the team was deleted, or the call has ended.
    Moot,
}
