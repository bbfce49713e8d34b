//! Delivery sends committed messages to the connections of their recipients. Within a conversation it keeps
//! the order of the commits.
//!
//! Only delivery sends through the registry. Each conversation belongs to one of a few tasks, to which the
//! store's thread passes the message. The sender is answered after the message was queued for the
//! connections, because the answer says who was reached.
//!
//! The order in which a task does its work is in [`lanes`]. On a node of several, [`route`] sends messages to
//! the other nodes, and each lane has a [`gate`].

mod fanout;
mod gate;
mod lanes;
mod nodes;
mod positions;
mod repair;
mod route;
mod tally;
#[cfg(test)]
mod tests;
mod work;

use std::sync::Arc;

use mynah_cluster::{Incarnation, Message};
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::directory::ConnectionId;
use crate::ids::Uid;
use crate::store::follow::Point;
use crate::store::{StoreError, Team, TeamChanged};
use nodes::Nodes;
use work::{Answer, Arrival, Change, OTHERS_AT_ONCE, Waiting, Work, lane};

pub(crate) use fanout::Fanout;
pub(crate) use nodes::{Others, Unstored, Whom};
pub(crate) use route::There;
pub(crate) use tally::{OnDelivered, Outcome};
pub(crate) use work::{Committed, Receipt};

/// The number of tasks that deliver. More tasks than processors do not help.
const TASKS: usize = 16;
/// The delivering tasks.
pub(crate) struct Delivery {
    /// The queues of the tasks.
    queues: Vec<mpsc::Sender<Arrival>>,
    fanout: Fanout,
    /// The other nodes; `None` if there is one node.
    nodes: Option<Nodes>,
}

impl Delivery {
    /// Starts the tasks. At most `in_flight` messages of this node wait for delivery at one time.
    pub(crate) fn start(fanout: Fanout, in_flight: usize, others: Option<Others>) -> Self {
        let places = if others.is_some() { OTHERS_AT_ONCE } else { 0 };
        let (queues, lanes): (Vec<_>, Vec<_>) = (0..TASKS).map(|_| mpsc::channel(in_flight + places)).unzip();
        let Some(others) = others else {
            for lane in lanes {
                tokio::spawn(fanout.clone().run(lane, None));
            }
            let nodes = None;
            return Self {
                queues,
                fanout,
                nodes,
            };
        };
        let nodes = Some(Nodes::start(others, &fanout, &queues, lanes));
        Self {
            queues,
            fanout,
            nodes,
        }
    }

    /// Whether there are other nodes.
    pub(crate) fn is_shared(&self) -> bool {
        self.nodes.is_some()
    }

    /// Sends messages that are not stored. Their order is not kept.
    pub(crate) fn fanout(&self) -> &Fanout {
        &self.fanout
    }

    /// Takes over a message. Called in commit order; does not block.
    pub(crate) fn message(&self, committed: Committed, answer: OnDelivered) {
        let since = clock::now();
        let answer = match &self.nodes {
            Some(nodes) if !committed.appended.duplicate => {
                nodes.message(&committed, answer, self.is_alone(committed.except))
            }
            _ => Answer::Here(answer),
        };
        self.enqueue(Work::Message(committed, Waiting { answer, since }));
    }

    /// Takes over a change of a team. Called in commit order; does not block.
    pub(crate) fn change(&self, changed: TeamChanged, answer: Box<dyn FnOnce(Team) + Send>) {
        if let Some(nodes) = &self.nodes {
            nodes.change(&changed);
        }
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
        if let Some(nodes) = &self.nodes {
            nodes.receipt(&receipt, self.is_alone(Some(receipt.except)));
        }
        self.enqueue(Work::Receipt(Box::new(receipt)));
    }

    /// Sends a message that is not stored to other nodes. Returns whom they have reached, later; `None` if
    /// there is one node.
    pub(crate) fn elsewhere(
        &self,
        message: Unstored,
        whom: Whom,
        follow: Option<Uid>,
    ) -> Option<oneshot::Receiver<There>> {
        let nodes = self.nodes.as_ref()?;
        Some(nodes.unstored(message, whom, follow))
    }

    /// Delivers what another node has sent.
    pub(crate) fn receive(&self, from: Incarnation, message: Message) {
        if let Some(nodes) = &self.nodes {
            nodes.receive(&self.fanout, from, message);
        }
    }

    /// Returns the present moment of the record, which a connection that registers notes; `None` if there is
    /// one node.
    pub(crate) async fn point(&self) -> Result<Option<Arc<Point>>, StoreError> {
        match &self.nodes {
            Some(nodes) => nodes.point().await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether the connection that has sent a message is the sender's only one on all nodes.
    fn is_alone(&self, sender: Option<ConnectionId>) -> bool {
        sender.is_some() && self.fanout.registry.is_single()
    }

    fn enqueue(&self, work: Work) {
        let index = lane(work.conv(), self.queues.len());
        // The queue cannot be full, because the answer of each item in it holds one of the `in_flight` slots.
        if self.queues[index].try_send(Arrival::Own(work)).is_err() {
            tracing::error!("delivery has stopped; recipients of a stored message get it when they resume");
        }
    }
}
