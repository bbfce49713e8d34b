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

use crate::clock;
use crate::cluster::Cluster;
use crate::directory::{ConnectionId, Registry};
use crate::frame::Frame;
use crate::ids::{ConvId, Uid};
use crate::metrics::{KindLabel, Metrics};
use crate::order::Stored;
use crate::push::Wake;
use crate::reject::Reject;
use crate::session::Link;
use crate::store::{Append, Appended, Members, Place, Team, TeamChanged};

/// The number of tasks that deliver. More tasks than processors do not help.
const TASKS: usize = 16;
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

/// A message that was committed, with everything that is needed to deliver it. It is plain data, so that it
/// can be passed on to other nodes.
pub(crate) struct Committed {
    pub(crate) message: Arc<Append>,
    pub(crate) appended: Appended,
    /// The connection that sent it, which does not receive it.
    pub(crate) except: Option<ConnectionId>,
}

/// What waits on this node until a message is delivered.
struct Waiting {
    answer: OnDelivered,
    /// When the message was committed.
    since: Instant,
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

/// A read position that was committed now or earlier.
pub(crate) struct Receipt {
    pub(crate) conv: ConvId,
    /// Kind 107.
    pub(crate) frame: Arc<Frame>,
    /// The users who are told; empty if the position has not moved.
    pub(crate) to: Members,
    /// The connection that has sent the read position, which does not receive kind 107.
    pub(crate) except: ConnectionId,
    pub(crate) answer: Box<dyn FnOnce() + Send>,
}

/// A change of a team that was committed, and whose notices are being delivered.
struct Change {
    changed: TeamChanged,
    answer: Box<dyn FnOnce(Team) + Send>,
    /// Members who receive all of the notices.
    there: Members,
    /// The number of notices that were delivered.
    told: usize,
    /// The next notice, if its delivery was begun.
    fan: Option<Fan>,
}

enum Work {
    Message(Committed, Waiting),
    Receipt(Box<Receipt>),
    Change(Box<Change>),
}

impl Work {
    fn conv(&self) -> ConvId {
        match self {
            Self::Message(committed, _) => committed.appended.conv,
            Self::Receipt(receipt) => receipt.conv,
            Self::Change(change) => change.changed.team.conv,
        }
    }
}

/// The delivering tasks.
pub(crate) struct Delivery {
    /// The queues of the tasks.
    queues: Vec<mpsc::Sender<Work>>,
    fanout: Fanout,
}

impl Delivery {
    /// Starts the tasks. At most `in_flight` messages wait for delivery at one time.
    pub(crate) fn start(fanout: Fanout, in_flight: usize) -> Self {
        let queues = (0..TASKS)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(in_flight);
                tokio::spawn(fanout.clone().run(receiver));
                sender
            })
            .collect();
        Self { queues, fanout }
    }

    /// Sends messages that are not stored. Their order is not kept.
    pub(crate) fn fanout(&self) -> &Fanout {
        &self.fanout
    }

    /// Takes over a message. Called in commit order; does not block.
    pub(crate) fn message(&self, committed: Committed, answer: OnDelivered) {
        let since = clock::now();
        self.enqueue(Work::Message(committed, Waiting { answer, since }));
    }

    /// Takes over a change of a team. Called in commit order; does not block.
    pub(crate) fn change(&self, changed: TeamChanged, answer: Box<dyn FnOnce(Team) + Send>) {
        self.enqueue(Work::Change(Box::new(Change {
            there: changed.team.members.clone(),
            changed,
            answer,
            told: 0,
            fan: None,
        })));
    }

    /// Takes over a receipt. Called in commit order; does not block.
    pub(crate) fn receipt(&self, receipt: Receipt) {
        self.enqueue(Work::Receipt(Box::new(receipt)));
    }

    /// Delivers what these users have missed: the directory of all nodes did not have them for a while.
    pub(crate) fn catch_up(&self, _uids: Vec<Uid>) {}

    fn enqueue(&self, work: Work) {
        let index = usize::from(work.conv().0[15]) % self.queues.len();
        // The queue cannot be full, because the answer of each item in it holds one of the `in_flight` slots.
        if self.queues[index].try_send(work).is_err() {
            tracing::error!("delivery has stopped; recipients of a stored message get it when they resume");
        }
    }
}

/// A frame that is being sent to many users.
struct Fan {
    frame: Arc<Frame>,
    to: Members,
    except: Option<ConnectionId>,
    /// How many of the recipients have been handled.
    at: usize,
    /// Of these, how many were reached.
    online: usize,
}

impl Fan {
    fn new(frame: Arc<Frame>, to: Members, except: Option<ConnectionId>) -> Self {
        Self {
            frame,
            to,
            except,
            at: 0,
            online: 0,
        }
    }

    /// How many recipients were reached, and how many were not.
    fn reached(&self) -> (usize, usize) {
        (self.online, self.to.len() - self.online)
    }
}

/// What a task has queued for connections since it last yielded to their tasks.
#[derive(Default)]
struct Budget {
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
    /// The other nodes; `None` if there is one node.
    #[allow(dead_code)]
    pub(crate) cluster: Option<Arc<Cluster>>,
}

impl Fanout {
    /// Sends to all connections of a user except one. Returns whether there was another.
    pub(crate) fn user(&self, uid: &Uid, except: Option<ConnectionId>, frame: &Arc<Frame>) -> bool {
        let connections = self.registry.reach(uid, except, |link| link.push(frame));
        self.count(connections);
        connections > 0
    }

    /// Sends to all members. Returns how many were reached and how many were not.
    pub(crate) async fn members(
        &self,
        members: Members,
        except: Option<ConnectionId>,
        frame: Arc<Frame>,
    ) -> (usize, usize) {
        let (mut fan, mut budget) = (Fan::new(frame, members, except), Budget::default());
        while !self.fan(&mut fan, &mut budget).await {}
        fan.reached()
    }

    /// Sends to the next [`SLICE`] of the recipients. Returns true if those were the last.
    async fn fan(&self, fan: &mut Fan, budget: &mut Budget) -> bool {
        let end = fan.to.len().min(fan.at + SLICE);
        let mut connections = 0;
        while fan.at < end {
            let next = budget.recipients(end - fan.at).await;
            for uid in &fan.to[fan.at..fan.at + next] {
                let reached = self.registry.reach(uid, fan.except, |link| link.push(&fan.frame));
                fan.online += usize::from(reached > 0);
                connections += reached;
            }
            fan.at += next;
        }
        self.count(connections);
        fan.at == fan.to.len()
    }

    /// Sends to all connected users, except one connection. Returns how many users were reached.
    pub(crate) fn everyone(&self, except: Option<ConnectionId>, frame: &Arc<Frame>) -> usize {
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
