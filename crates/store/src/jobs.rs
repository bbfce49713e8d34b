//! Push jobs.

use super::Message;
use crate::ids::{ConvId, Mid, Seq, Uid};
use crate::time::UnixMillis;

/// A push job's row number; local to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub i64);

/// Where a push job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Jobs of urgent kinds, such as calls.
    Urgent = 0,
    /// The others.
    Normal = 1,
    /// Jobs whose message was written to a connection that counts as having received it, until it is certain that the connection
    /// was alive: see [`Store::revive_jobs`](super::Store::revive_jobs).
    Delivered = 2,
}

/// A push job. It names its message and does not hold it: the payload is read for an attempt only.
#[derive(Debug, Clone)]
pub struct PushJob {
    /// Its row.
    pub id: JobId,
    /// The message's id.
    pub mid: Mid,
    /// The message's conversation.
    pub conv: ConvId,
    /// The message's number there.
    pub seq: Seq,
    /// The message's sender.
    pub from: Option<Uid>,
    /// To whom, from where it stopped.
    pub to: JobRecipients,
    /// Failed attempts so far.
    pub attempts: u32,
    /// When the message was committed.
    pub made: UnixMillis,
    /// The job is not due before this.
    pub due: UnixMillis,
    /// No attempt begins later than this.
    pub expires: UnixMillis,
}

/// Whom a push job is for.
#[derive(Debug, Clone)]
pub enum JobRecipients {
    /// One user.
    User(Uid),
    /// The members of the conversation's team after this uid in order (all when `None`), without the sender.
    Team(Option<Uid>),
}

/// What becomes of a push job.
#[derive(Debug, Clone)]
pub enum JobOutcome {
    /// Nothing left to do: the row goes.
    Finished,
    /// Progress of a team's job: members up to this one were handled, and these get jobs of their own.
    Advanced {
        /// The last uid worked off.
        after: Uid,
        /// To whom, and when their jobs are due.
        jobs: Vec<(Uid, UnixMillis)>,
    },
    /// An attempt failed and is to be retried.
    Retry {
        /// Not before this.
        at: UnixMillis,
    },
    /// There was no attempt; the job is to be checked again.
    Later {
        /// Not before this.
        at: UnixMillis,
    },
    /// To [`Lane::Delivered`].
    Delivered {
        /// It may be finished at this time.
        until: UnixMillis,
    },
    /// Kept, and not tried again.
    Dead,
}

impl JobOutcome {
    /// When the job is to be checked again.
    pub fn due_again(&self) -> Option<UnixMillis> {
        match self {
            Self::Retry { at } | Self::Later { at } => Some(*at),
            Self::Finished | Self::Advanced { .. } | Self::Delivered { .. } | Self::Dead => None,
        }
    }
}

/// What [`Store::due_jobs`](super::Store::due_jobs) found.
#[derive(Debug, Clone, Default)]
pub struct DueJobs {
    /// Due now, in the order of `due` and `id`.
    pub jobs: Vec<PushJob>,
    /// When the earliest of those that are not due yet is due.
    pub next: Option<UnixMillis>,
}

/// How many push jobs there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Pending jobs, without those in [`Lane::Delivered`].
    pub waiting: u64,
    /// Those kept as dead.
    pub dead: u64,
}

/// Whether a user is still to be notified of a message.
#[derive(Debug, Clone)]
pub enum ToTell {
    /// Yes: the message, and how many messages of all conversations the user has not read.
    Yes(Box<Message>, u64),
    /// One of the user's devices has acknowledged it, or the user has read it.
    Acknowledged,
    /// There is nothing to notify any more: the message was recalled, the user has left the team, the team
    /// was deleted, or the call has ended.
    Moot,
}
