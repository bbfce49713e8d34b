//! The commands that wait to be written.
//!
//! Invariants: the queue is bounded; the commands of one call stay together and in order; after the queue was
//! closed, further commands are refused, and those that wait are still taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mynah_store::ids::{ConvId, Seq, TeamId, Uid};
use mynah_store::{
    Append, Appended, Device, DeviceRegister, Done, DueJobs, JobId, JobOutcome, JobQuery, Read, ReadMark,
    Recall, Recalled, Revocation, SettingChange, StoreError, TeamChange, TeamChanged, UnixMillis,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The maximum number of commands that wait; further ones are refused. If nothing waits, any number from one
/// call is accepted.
const MOST_WAITING: usize = 65_536;

/// A command, and the callback for its result.
pub(super) struct Command {
    pub(super) order: Order,
    pub(super) tell: Tell,
}

/// Something to write.
pub(super) enum Order {
    Append(Arc<Append>),
    ChangeTeam(TeamId, TeamChange),
    RegisterDevice(DeviceRegister),
    Ack(Device, ConvId, Seq),
    Read(Read),
    Recall(Recall),
    Revoke(Revocation),
    FinishJobs(Vec<(JobId, JobOutcome)>),
    /// Revives the jobs of messages of the last milliseconds.
    ReviveJobs(Uid, u64),
    /// Claims jobs for this long, in milliseconds.
    Claim(JobQuery, u64),
    Release(Vec<JobId>),
    /// Makes all leases of this node end this much later than now, in milliseconds, or at the time that a
    /// test's clock says.
    Extend(u64, Option<UnixMillis>),
    Change(String, Mutex<SettingChange>),
    /// The device has everything in pairs and notices up to this row.
    Had(Device, i64),
}

/// The callback for the result.
pub(super) enum Tell {
    Appended(Done<Appended>),
    Changed(Done<TeamChanged>),
    Acked(Done<Seq>),
    Read(Done<ReadMark>),
    Recalled(Done<Recalled>),
    Claimed(Done<DueJobs>),
    Done(Done<()>),
    Nobody,
}

impl Order {
    /// Whether it is written in a transaction of its own.
    pub(super) fn is_alone(&self) -> bool {
        matches!(
            self,
            Self::ChangeTeam(..)
                | Self::Recall(..)
                | Self::ReviveJobs(..)
                | Self::Claim(..)
                | Self::Change(..)
        )
    }
}

impl Tell {
    /// Tells the caller that nothing was written.
    pub(super) fn fail(self, error: StoreError) {
        match self {
            Self::Appended(done) => done(Err(error)),
            Self::Changed(done) => done(Err(error)),
            Self::Acked(done) => done(Err(error)),
            Self::Read(done) => done(Err(error)),
            Self::Recalled(done) => done(Err(error)),
            Self::Claimed(done) => done(Err(error)),
            Self::Done(done) => done(Err(error)),
            Self::Nobody => {}
        }
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Command>,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Notify,
}

impl Queue {
    /// Queues commands, unless the node may not use the store at present (`serves`).
    pub(super) fn push(
        &self,
        commands: impl ExactSizeIterator<Item = Command>,
        serves: Result<(), StoreError>,
    ) {
        let mut state = self.state.lock();
        let refusal = if let Err(error) = serves {
            Some(error)
        } else if state.closed {
            Some(StoreError::stopped())
        } else if !state.waiting.is_empty() && state.waiting.len() + commands.len() > MOST_WAITING {
            Some(StoreError::Unavailable(format!(
                "{MOST_WAITING} changes are already waiting"
            )))
        } else {
            None
        };
        match refusal {
            None => {
                state.waiting.extend(commands);
                drop(state);
                self.filled.notify_one();
            }
            Some(error) => {
                drop(state);
                commands.for_each(|command| command.tell.fail(error.clone()));
            }
        }
    }

    /// Waits for commands, but no longer than `wait`, and takes those that fit into one transaction, at most
    /// `most`. `None` if the queue is closed and empty.
    pub(super) async fn take(&self, most: usize, wait: Duration) -> Option<Vec<Command>> {
        let end = tokio::time::Instant::now() + wait;
        loop {
            {
                let mut state = self.state.lock();
                if !state.waiting.is_empty() {
                    let waiting = state.waiting.iter().take(most);
                    let fit = waiting.take_while(|command| !command.order.is_alone()).count();
                    return Some(state.waiting.drain(..fit.max(1)).collect());
                }
                if state.closed {
                    return None;
                }
            }
            if tokio::time::timeout_at(end, self.filled.notified())
                .await
                .is_err()
            {
                return Some(Vec::new());
            }
        }
    }

    /// Refuses further commands.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
    }

    /// Returns the number of waiting commands.
    pub(super) fn depth(&self) -> usize {
        self.state.lock().waiting.len()
    }
}
