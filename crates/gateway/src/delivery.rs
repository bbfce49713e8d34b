//! Delivery: what was committed goes to the connections it is for, in commit order inside a conversation.
//!
//! Only delivery sends through the registry. A conversation always falls to the same of a few tasks; the store's thread hands
//! over and goes on. The answer to the sender comes after the hand-over to the connections, so that it knows who was reached.
//!
//! What a task does with its work, in which order, is in [`lanes`].

mod lanes;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::appends::Permit;
use crate::frame::Frame;
use crate::ids::{ConvId, Uid};
use crate::metrics::{KindLabel, Metrics};
use crate::order::{Origin, Stored};
use crate::push::Wake;
use crate::registry::Registry;
use crate::reject::Reject;
use crate::session::Link;
use crate::store::{Append, Appended, Members, Place, TeamChanged};

/// Tasks that deliver; more than the processors of any machine we know help nobody.
const SHARDS: usize = 16;
/// Recipients of one message that are served before other conversations get their turn: a fraction of a
/// millisecond.
const SLICE: usize = 1_024;
/// Recipients, of one message or many, between two looks at whether another task wants the thread: a millisecond or two. What comes to a
/// connection meanwhile, it writes in one go.
const RECIPIENTS_PER_TURN: usize = 8_192;
/// Bytes of frames between two such looks: a connection that nothing keeps from writing must not run into its queue's bound because its
/// task had no turn.
const BYTES_PER_TURN: usize = 65_536;

/// What became of a stored message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) stored: Stored,
    /// Users who got it on a live connection.
    pub(crate) online: usize,
    /// Users who did not.
    pub(crate) offline: usize,
}

/// Told what became of a message, once.
pub(crate) type Answer = Box<dyn FnOnce(Result<Outcome, Reject>) + Send>;

/// A message that the store has. What is passed on is the message itself and what the store says of it; the
/// rest waits here until the message is delivered.
pub(crate) struct Committed {
    pub(crate) message: Arc<Append>,
    pub(crate) appended: Appended,
    /// The connection that sent it, which does not receive it.
    pub(crate) origin: Option<Origin>,
    /// When it was committed.
    pub(crate) at: Instant,
    pub(crate) answer: Answer,
    /// Its slot among the appends in flight, which bounds what waits here.
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

    /// The sender if its other devices receive the message besides its recipients. A sender who is a member
    /// of the team is one of them, and one who is not may not see the team.
    fn follower(&self) -> Option<&Uid> {
        match &self.message.place {
            Place::Pair { to, .. } => self.message.from.as_ref().filter(|from| *from != to),
            Place::Notices(_) | Place::Team(_) => None,
        }
    }
}

/// A change to a team that the store has.
pub(crate) struct CommittedChange {
    pub(crate) changed: TeamChanged,
    pub(crate) answer: Box<dyn FnOnce(TeamChanged) + Send>,
    pub(crate) permit: Permit,
}

/// A read position that the store has moved, or found where it was.
pub(crate) struct Receipt {
    pub(crate) conv: ConvId,
    /// Kind 107.
    pub(crate) frame: Arc<Frame>,
    /// The users to tell; nobody when it has not moved.
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
    /// Their queues.
    shards: Vec<mpsc::Sender<Work>>,
    fanout: Fanout,
}

impl Delivery {
    /// Starts the tasks. At most `in_flight` messages are handed over and not yet delivered.
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

    /// Sends what is not stored, which has no order.
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
        // Full it cannot be: every piece of work holds one of `in_flight` permits.
        if self.shards[shard].try_send(work).is_err() {
            tracing::error!("delivery has stopped; a stored message waits for its recipients to resume");
        }
    }
}

/// A frame that goes to many.
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

/// What a task has handed over since the connections' tasks had their turn.
#[derive(Default)]
pub(crate) struct Turn {
    bytes: usize,
    recipients: usize,
}

impl Turn {
    /// Before a frame of so many bytes: lets others have their turn first if it is too much for one.
    async fn frame(&mut self, bytes: usize) {
        if self.bytes + bytes > BYTES_PER_TURN {
            self.end().await;
        }
        self.bytes += bytes;
    }

    /// Before more recipients: how many of `wanted` are next, after others have had their turn if that is due.
    async fn recipients(&mut self, wanted: usize) -> usize {
        if self.recipients == RECIPIENTS_PER_TURN {
            self.end().await;
        }
        let next = wanted.min(RECIPIENTS_PER_TURN - self.recipients);
        self.recipients += next;
        next
    }

    async fn end(&mut self) {
        *self = Self::default();
        tokio::task::yield_now().await;
    }
}

/// Sends to users, and counts.
#[derive(Clone)]
pub(crate) struct Fanout {
    pub(crate) registry: Arc<Registry<Link>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Told of each push job.
    pub(crate) wake: Arc<Wake>,
}

impl Fanout {
    /// Sends to all connections of a user but `origin`; whether there was one.
    pub(crate) fn user(&self, uid: &Uid, origin: Option<&Origin>, frame: &Arc<Frame>) -> bool {
        let connections = self.reach(uid, origin, frame);
        self.count(connections);
        connections > 0
    }

    fn reach(&self, uid: &Uid, origin: Option<&Origin>, frame: &Arc<Frame>) -> usize {
        let except = origin.map(|origin| &origin.0);
        self.registry.reach(uid, except, |link| link.push(frame))
    }

    /// Sends to every member; how many were reached and how many not.
    pub(crate) async fn members(
        &self,
        members: &[Uid],
        origin: Option<&Origin>,
        frame: &Arc<Frame>,
        turn: &mut Turn,
    ) -> (usize, usize) {
        let mut fan = Fan::of(frame.clone());
        while !self.fan(members, origin, &mut fan, turn).await {}
        (fan.online, members.len() - fan.online)
    }

    /// Sends to the next [`SLICE`] of these recipients; returns true if those were the last.
    async fn fan(&self, members: &[Uid], origin: Option<&Origin>, fan: &mut Fan, turn: &mut Turn) -> bool {
        let end = members.len().min(fan.at + SLICE);
        let mut connections = 0;
        while fan.at < end {
            let next = turn.recipients(end - fan.at).await;
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

    /// Sends to everyone; how many users were reached.
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
