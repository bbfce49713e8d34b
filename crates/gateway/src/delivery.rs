//! Delivery sends committed messages to the connections of their recipients. Within a conversation it keeps
//! the order of the commits.
//!
//! Only delivery sends through the registry. Each conversation belongs to one of a few tasks, to which the
//! store's thread passes the message. The sender is answered after the message was queued for the
//! connections, because the answer says who was reached.
//!
//! The order in which a task does its work is in [`lanes`].

mod lanes;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::appends::Permit;
use crate::directory::Registry;
use crate::frame::Frame;
use crate::ids::{ConvId, Uid};
use crate::metrics::{KindLabel, Metrics};
use crate::order::{Origin, Stored};
use crate::push::Wake;
use crate::reject::Reject;
use crate::session::Link;
use crate::store::{Append, Appended, Members, Place, TeamChanged};

/// The number of tasks that deliver. More tasks than processors do not help.
const SHARDS: usize = 16;
/// The maximum number of recipients to whom a message is sent before other conversations have their turn.
/// This takes a fraction of a millisecond.
const SLICE: usize = 1_024;
/// The number of recipients, of one message or many, after which the task yields to other tasks. They take
/// one or two milliseconds. A connection then writes everything that was queued for it with one call.
const RECIPIENTS_AT_ONCE: usize = 8_192;
/// The number of bytes of frames after which the task yields to other tasks. Otherwise the queue of a
/// connection could become full although its client reads.
const BYTES_AT_ONCE: usize = 65_536;

/// The result of sending a stored message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) stored: Stored,
    /// The number of recipients who were sent it on a live connection.
    pub(crate) online: usize,
    /// The number of recipients who were not.
    pub(crate) offline: usize,
}

/// Called once with the result of sending a message.
pub(crate) type OnDelivered = Box<dyn FnOnce(Result<Outcome, Reject>) + Send>;

/// A message that was committed, with everything that is needed to deliver it and to answer its sender.
pub(crate) struct Committed {
    pub(crate) message: Arc<Append>,
    pub(crate) appended: Appended,
    /// The connection that sent it, which does not receive it.
    pub(crate) origin: Option<Origin>,
    /// When it was committed.
    pub(crate) at: Instant,
    pub(crate) answer: OnDelivered,
    /// Its slot among the appends in flight, which limits the number of messages that wait for delivery.
    pub(crate) permit: Permit,
}

impl Committed {
    /// The one recipient, unless it is a team.
    fn to(&self) -> Option<&Uid> {
        match &self.message.place {
            Place::Pair { to, .. } | Place::Notices(to) => Some(to),
            Place::Team(_) => None,
        }
    }

    /// The sender, if its other devices must receive the message although the sender is not a recipient. In a
    /// team, a sender who is a member is a recipient, and one who is not a member may not see the team.
    fn follower(&self) -> Option<&Uid> {
        match &self.message.place {
            Place::Pair { to, .. } => self.message.from.as_ref().filter(|from| *from != to),
            Place::Notices(_) | Place::Team(_) => None,
        }
    }
}

/// A change to a team that was committed.
pub(crate) struct CommittedChange {
    pub(crate) changed: TeamChanged,
    pub(crate) answer: Box<dyn FnOnce(TeamChanged) + Send>,
    pub(crate) permit: Permit,
}

/// A read position that was committed now or earlier.
pub(crate) struct Receipt {
    pub(crate) conv: ConvId,
    /// Kind 107.
    pub(crate) frame: Arc<Frame>,
    /// The users who are told; empty if the position has not moved.
    pub(crate) to: Members,
    pub(crate) origin: Origin,
    pub(crate) answer: Box<dyn FnOnce() + Send>,
    pub(crate) permit: Permit,
}

enum Work {
    Message(Committed),
    Receipt(Box<Receipt>),
    Change(Box<CommittedChange>),
}

impl Work {
    fn conv(&self) -> ConvId {
        match self {
            Self::Message(message) => message.appended.conv,
            Self::Receipt(receipt) => receipt.conv,
            Self::Change(change) => change.changed.team.conv,
        }
    }
}

/// The delivering tasks.
pub(crate) struct Delivery {
    /// The queues of the tasks.
    shards: Vec<mpsc::Sender<Work>>,
    fanout: Fanout,
}

impl Delivery {
    /// Starts the tasks. At most `in_flight` messages wait for delivery at one time.
    pub(crate) fn start(fanout: Fanout, in_flight: usize) -> Self {
        let shards = (0..SHARDS)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(in_flight);
                tokio::spawn(fanout.clone().run(receiver));
                sender
            })
            .collect();
        Self { shards, fanout }
    }

    /// Sends messages that are not stored. Their order is not kept.
    pub(crate) fn fanout(&self) -> &Fanout {
        &self.fanout
    }

    /// Takes over a message. Called in commit order; does not block.
    pub(crate) fn message(&self, message: Committed) {
        let conv = message.appended.conv;
        self.enqueue(conv, Work::Message(message));
    }

    /// Takes over a change. Called in commit order; does not block.
    pub(crate) fn change(&self, change: CommittedChange) {
        let conv = change.changed.team.conv;
        self.enqueue(conv, Work::Change(Box::new(change)));
    }

    /// Takes over a receipt. Called in commit order; does not block.
    pub(crate) fn receipt(&self, receipt: Receipt) {
        self.enqueue(receipt.conv, Work::Receipt(Box::new(receipt)));
    }

    fn enqueue(&self, conv: ConvId, work: Work) {
        let shard = usize::from(conv.0[15]) % self.shards.len();
        // The queue cannot be full, because each item in it holds one of the `in_flight` permits.
        if self.shards[shard].try_send(work).is_err() {
            tracing::error!("delivery has stopped; recipients of a stored message get it when they resume");
        }
    }
}

/// A frame that is being sent to many users.
struct Fan {
    frame: Arc<Frame>,
    /// How many of the recipients have been handled.
    at: usize,
    /// Of these, how many were reached.
    online: usize,
}

impl Fan {
    fn of(frame: Arc<Frame>) -> Self {
        Self {
            frame,
            at: 0,
            online: 0,
        }
    }
}

/// What a task has queued for connections since it last yielded to their tasks.
#[derive(Default)]
pub(crate) struct Budget {
    bytes: usize,
    recipients: usize,
}

impl Budget {
    /// Call it before a frame of this many bytes. Yields first if the frame would exceed the budget.
    async fn frame(&mut self, bytes: usize) {
        if self.bytes + bytes > BYTES_AT_ONCE {
            self.end().await;
        }
        self.bytes += bytes;
    }

    /// Call it before more recipients. Yields first if the budget is used up. Returns how many of the
    /// `wanted` recipients fit into the budget.
    async fn recipients(&mut self, wanted: usize) -> usize {
        if self.recipients == RECIPIENTS_AT_ONCE {
            self.end().await;
        }
        let next = wanted.min(RECIPIENTS_AT_ONCE - self.recipients);
        self.recipients += next;
        next
    }

    async fn end(&mut self) {
        *self = Self::default();
        tokio::task::yield_now().await;
    }
}

/// Sends frames to users, and counts them.
#[derive(Clone)]
pub(crate) struct Fanout {
    pub(crate) registry: Arc<Registry<Link>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Woken for each push job.
    pub(crate) wake: Arc<Wake>,
}

impl Fanout {
    /// Sends to all connections of a user except `origin`. Returns whether there was one.
    pub(crate) fn user(&self, uid: &Uid, origin: Option<&Origin>, frame: &Arc<Frame>) -> bool {
        let connections = self.reach(uid, origin, frame);
        self.count(connections);
        connections > 0
    }

    fn reach(&self, uid: &Uid, origin: Option<&Origin>, frame: &Arc<Frame>) -> usize {
        let except = origin.map(|origin| &origin.0);
        self.registry.reach(uid, except, |link| link.push(frame))
    }

    /// Sends to all members. Returns how many were reached and how many were not.
    pub(crate) async fn members(
        &self,
        members: &[Uid],
        origin: Option<&Origin>,
        frame: &Arc<Frame>,
        budget: &mut Budget,
    ) -> (usize, usize) {
        let mut fan = Fan::of(frame.clone());
        while !self.fan(members, origin, &mut fan, budget).await {}
        (fan.online, members.len() - fan.online)
    }

    /// Sends to the next [`SLICE`] of these recipients. Returns true if those were the last.
    async fn fan(
        &self,
        members: &[Uid],
        origin: Option<&Origin>,
        fan: &mut Fan,
        budget: &mut Budget,
    ) -> bool {
        let end = members.len().min(fan.at + SLICE);
        let mut connections = 0;
        while fan.at < end {
            let next = budget.recipients(end - fan.at).await;
            for uid in &members[fan.at..fan.at + next] {
                let reached = self.reach(uid, origin, &fan.frame);
                fan.online += usize::from(reached > 0);
                connections += reached;
            }
            fan.at += next;
        }
        self.count(connections);
        fan.at == members.len()
    }

    /// Sends to all connected users. Returns how many were reached.
    pub(crate) fn everyone(&self, origin: Option<&Origin>, frame: &Arc<Frame>) -> usize {
        let except = origin.map(|origin| &origin.0);
        let (users, connections) = self.registry.reach_everyone(except, |link| link.push(frame));
        self.count(connections);
        users
    }

    fn appended(&self, kind: u16) {
        let label = KindLabel { kind };
        self.metrics.messages_appended.get_or_create(&label).inc();
    }

    fn count(&self, connections: usize) {
        self.metrics.deliveries.inc_by(connections as u64);
        self.metrics.frames_out.inc_by(connections as u64);
    }
}
