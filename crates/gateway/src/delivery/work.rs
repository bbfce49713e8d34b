//! What comes to the lanes of delivery, and what they work on.

use std::sync::Arc;
use std::time::Instant;

use mynah_cluster::{Reached, Recipients};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::fanout::Fan;
use super::positions::Gap;
use super::tally::{OnDelivered, Tally};
use crate::directory::ConnectionId;
use crate::frame::Frame;
use crate::ids::{ConvId, Seq, Uid};
use crate::store::follow::{Point, RecordId};
use crate::store::{
    Append, Appended, ConvKind, Members, Message, Place, StoreError, Stretch, Team, TeamChanged, UnixMillis,
};

/// The maximum number of messages of other nodes that wait in the queue of a task. Further ones are read from
/// the record.
pub(super) const OTHERS_AT_ONCE: usize = 4_096;
/// A message that was committed, with everything that is needed to deliver it. It is plain data, so that it
/// can be passed on to other nodes.
pub(crate) struct Committed {
    pub(crate) message: Arc<Append>,
    pub(crate) appended: Appended,
    /// The connection that sent it, which does not receive it.
    pub(crate) except: Option<ConnectionId>,
    /// Whether the answer counts the recipients on all nodes. The answers to clients do not.
    pub(crate) counts: bool,
}

/// What waits on this node until a message is delivered.
pub(super) struct Waiting {
    pub(super) answer: Answer,
    /// When the message was committed.
    pub(super) since: Instant,
}

/// Who answers after a message was delivered.
pub(super) enum Answer {
    /// The lane.
    Here(OnDelivered),
    /// Whoever comes last: the lane, or the answers of the other nodes.
    Together(Arc<Tally>),
}

impl Committed {
    /// The one recipient, unless it is a team.
    pub(super) fn to(&self) -> Option<&Uid> {
        match &self.message.place {
            Place::Pair { to, .. } | Place::Notices(to) => Some(to),
            Place::Team(_) => None,
        }
    }

    /// The sender, if its other devices must receive the message although the sender is not a recipient. In a
    /// team, a sender who is a member is a recipient, and one who is not a member may not see the team.
    pub(super) fn follower(&self) -> Option<&Uid> {
        match &self.message.place {
            Place::Pair { to, .. } => self.message.from.as_ref().filter(|from| *from != to),
            Place::Notices(_) | Place::Team(_) => None,
        }
    }
}

/// A read position that was committed now or earlier.
pub(crate) struct Receipt {
    pub(crate) conv: ConvId,
    /// `data` of kind 107.
    pub(crate) data: Arc<RawValue>,
    pub(crate) ts: UnixMillis,
    /// The user who has read.
    pub(crate) by: Uid,
    /// The users who are told; empty if the position has not moved.
    pub(crate) to: Members,
    /// The connection that has sent the read position, which does not receive kind 107.
    pub(crate) except: ConnectionId,
    pub(crate) answer: Box<dyn FnOnce() + Send>,
}

/// A change of a team that was committed, and whose notices are being delivered.
pub(super) struct Change {
    pub(super) changed: TeamChanged,
    pub(super) answer: Box<dyn FnOnce(Team) + Send>,
    /// Members who receive all of the notices.
    pub(super) there: Members,
    /// The number of notices that were delivered.
    pub(super) told: usize,
    /// The next notice, if its delivery was begun.
    pub(super) fan: Option<Fan>,
}

pub(super) enum Work {
    Message(Committed, Waiting),
    Receipt(Box<Receipt>),
    Change(Box<Change>),
    /// A message of another node, or from the record.
    Passed(Box<Passed>),
    /// A message that was read from the record and delivered before this node learned of its own commit.
    Told(Committed, Waiting),
}

impl Work {
    pub(super) fn conv(&self) -> ConvId {
        match self {
            Self::Message(committed, _) | Self::Told(committed, _) => committed.appended.conv,
            Self::Receipt(receipt) => receipt.conv,
            Self::Change(change) => change.changed.team.conv,
            Self::Passed(passed) => passed.conv,
        }
    }
}

/// What comes to a lane.
pub(super) enum Arrival {
    /// What this node has committed.
    Own(Work),
    /// All else, on a node of several, with its place in the queue.
    Remote(Remote, OwnedSemaphorePermit),
}

/// What comes to a lane besides this node's own commits.
pub(super) enum Remote {
    /// A stored message of another node.
    Message(Box<mynah_cluster::Message>, Option<Answering>),
    /// The wait of a conversation is over.
    Overdue(ConvId),
    /// What was missing of a conversation.
    Read(Gap, Result<Read, StoreError>),
    /// The follower has found new messages in the record.
    News(Stretch, Whose),
    /// All news up to this moment have come.
    Handled(Arc<Point>),
}

/// Tells another node whom its message has reached here.
pub(super) type Answering = Box<dyn FnOnce(Reached) + Send>;

/// A message of another node, or one that was read from the record, whose recipients here are reached now.
pub(super) struct Passed {
    pub(super) conv: ConvId,
    pub(super) frame: Arc<Frame>,
    pub(super) to: Members,
    /// A user who gets it too, but is not counted.
    pub(super) also: Option<Uid>,
    pub(super) answer: Option<Answering>,
    /// The message's number, if it was read from the record. It is then left out on connections that have
    /// registered later.
    pub(super) number: Option<RecordId>,
}

/// To whom a conversation belongs.
#[derive(Debug, Clone)]
pub(super) enum Whose {
    /// Its one or two users.
    Users(Members),
    /// The members of a team.
    Team,
}

impl Whose {
    pub(super) fn users(one: Uid, other: Option<Uid>) -> Self {
        let mut users = vec![one];
        users.extend(other);
        Self::Users(Arc::new(users))
    }

    /// To whom the conversation of another node's message belongs. That is not always its sender: who writes
    /// into a user's notices does not see them.
    pub(super) fn of(message: &mynah_cluster::Message) -> Self {
        match &message.to {
            Recipients::Users(to) => {
                let mut users = to.to_vec();
                users.extend(message.follow.clone());
                users.sort_unstable();
                users.dedup();
                Self::Users(Arc::new(users))
            }
            _ => Self::Team,
        }
    }

    pub(super) fn of_kind(kind: ConvKind) -> Self {
        match kind {
            ConvKind::Pair(_, one, other) if one == other => Self::users(one, None),
            ConvKind::Pair(_, one, other) => Self::users(one, Some(other)),
            ConvKind::Notices(owner) => Self::users(owner, None),
            ConvKind::Team(_) => Self::Team,
        }
    }
}

/// A message that was read.
pub(super) struct Found {
    pub(super) number: RecordId,
    pub(super) message: Message,
    pub(super) to: Members,
    /// A user who has left the team with this message.
    pub(super) also: Option<Uid>,
}

/// What was read of a conversation.
pub(super) struct Read {
    pub(super) messages: Vec<Found>,
    /// Everything up to this message was read.
    pub(super) through: Seq,
    /// The members of the team, and their version.
    pub(super) members: Option<(u64, Members)>,
}

/// The way into a lane. It does not keep the lane alive.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) lane: mpsc::WeakSender<Arrival>,
    /// The places in the lane's queue for what is not this node's own.
    pub(super) room: Arc<Semaphore>,
}

impl Door {
    /// Waits for a place. Returns false if the lane has ended.
    pub(super) async fn send(&self, remote: Remote) -> bool {
        let Ok(permit) = self.room.clone().acquire_owned().await else {
            return false;
        };
        let Some(lane) = self.lane.upgrade() else {
            return false;
        };
        lane.send(Arrival::Remote(remote, permit)).await.is_ok()
    }

    /// Sends at once, or drops it: what other nodes send is also in the record.
    pub(super) fn try_send(&self, remote: Remote) {
        let permit: Option<OwnedSemaphorePermit> = self.room.clone().try_acquire_owned().ok();
        if let (Some(permit), Some(lane)) = (permit, self.lane.upgrade()) {
            // There is a place for each permit.
            let _ = lane.try_send(Arrival::Remote(remote, permit));
        }
    }
}

/// The number of the lane of a conversation.
pub(super) fn lane(conv: ConvId, lanes: usize) -> usize {
    usize::from(conv.0[15]) % lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::uid;

    #[test]
    fn the_sender_of_a_notice_does_not_see_the_owners_other_notices() {
        let data = serde_json::value::RawValue::from_string("{}".into()).expect("JSON");
        let notice = mynah_cluster::Message {
            kind: 5,
            data: data.into(),
            from: Some(uid("sender")),
            cid: None,
            ts: 0,
            stored: None,
            to: Recipients::Users(Arc::new(vec![uid("owner")])),
            follow: None,
            question: None,
        };
        let Whose::Users(users) = Whose::of(&notice) else {
            panic!("it belongs to its owner");
        };
        assert_eq!(*users, [uid("owner")]);
    }
}
