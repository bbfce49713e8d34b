//! Push jobs.

use super::{Message, UnixMillis};
use crate::ids::{TeamId, Uid};

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
