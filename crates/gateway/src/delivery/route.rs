//! The way of messages to the other nodes that have recipients.
//!
//! All messages that wait are looked up in the directory at once; meanwhile the next ones collect. Messages
//! to many users of whom nobody wants to know who was reached, and those to teams of many members, go to all
//! nodes instead. Invariants: nothing here delays a commit or the delivery on this node. If Redis is slow or
//! does not work, messages are dropped here, and the other nodes find them in the record. Whoever wants to
//! know whom a message has reached gets an answer within a few seconds.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mynah_cluster::{Incarnation, Message, Packet, Reached, Recipients, To};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::clock;
use crate::cluster::{Cluster, Elsewhere};
use crate::ids::{TeamId, Uid};
use crate::store::Members;

/// The maximum number of messages that wait, and of their bytes in units of 1,024.
const MOST_WAITING: usize = 65_536;
const MOST_KIB: usize = 65_536;
/// The maximum number of messages that are sent at once, and of users who are looked up for them.
const MESSAGES_AT_ONCE: usize = 1_024;
const USERS_AT_ONCE: usize = 500;
/// A message that has waited for so long is not sent: the other nodes have read it in the record.
const TOO_LATE: Duration = Duration::from_secs(2);
/// How long other nodes may take to say whom they have reached.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Teams with more members than so many for each node are not looked up.
const MEMBERS_PER_NODE: usize = 4;
/// Teams with more members are not named in packets, but by a hash.
const MOST_NAMED: usize = 64;
/// The number of teams whose hash is remembered.
const TEAMS: usize = 1_024;

/// Whom the other nodes have reached.
#[derive(Debug, Default)]
pub(crate) struct There {
    /// Of the recipients of a message that names them.
    pub(crate) reached: Reached,
    /// The number of users, of a message to everyone.
    pub(crate) users: usize,
}

/// Called once with whom the other nodes have reached: with nobody if the message is dropped.
pub(super) struct Reply(Option<Box<dyn FnOnce(There) + Send>>);

impl Reply {
    pub(super) fn new(reply: impl FnOnce(There) + Send + 'static) -> Self {
        Self(Some(Box::new(reply)))
    }

    fn send(mut self, there: There) {
        if let Some(reply) = self.0.take() {
            reply(there);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply(There::default());
        }
    }
}

/// A message for other nodes.
struct Outgoing {
    message: Message,
    /// The members of the team, if it is one.
    members: Option<Members>,
    /// Whether the sender has no other connection.
    is_alone: bool,
    reply: Option<Reply>,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

impl Outgoing {
    /// The one who is looked up besides the recipients.
    fn follows(&self) -> Option<&Uid> {
        self.message.follow.as_ref().filter(|_| !self.is_alone)
    }

    /// Those who are looked up; `None` if the message goes to all nodes.
    fn named(&self, nodes: usize) -> Option<&[Uid]> {
        let most = nodes * MEMBERS_PER_NODE;
        match (&self.message.to, &self.members) {
            (Recipients::Users(uids), _) => (self.reply.is_some() || uids.len() <= most).then_some(uids),
            (_, Some(members)) => (members.len() <= most).then_some(members),
            (_, None) => None,
        }
    }
}

/// See the module.
pub(super) struct Route {
    queue: mpsc::Sender<Outgoing>,
    room: Arc<Semaphore>,
}

impl Route {
    /// Starts the task that sends.
    pub(super) fn start(cluster: Arc<Cluster>) -> Self {
        let (queue, waiting) = mpsc::channel(MOST_WAITING);
        let router = Router {
            cluster,
            versions: HashMap::new(),
        };
        tokio::spawn(router.run(waiting));
        Self {
            queue,
            room: Arc::new(Semaphore::new(MOST_KIB)),
        }
    }

    /// Sends a message to the nodes that have its recipients. `members` are those of the team, if it is one.
    /// `is_alone` says that the sender has no other connection, so that it need not be looked up.
    pub(super) fn send(
        &self,
        message: Message,
        members: Option<Members>,
        is_alone: bool,
        reply: Option<Reply>,
    ) {
        let named = match &message.to {
            Recipients::Users(uids) => uids.len(),
            _ => 0,
        };
        let kib = (message.data.get().len() + named * 32) / 1_024 + 1;
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(kib) else {
            return;
        };
        // If the queue is full, the message is dropped.
        let _ = self.queue.try_send(Outgoing {
            message,
            members,
            is_alone,
            reply,
            since: clock::now(),
            _room: room,
        });
    }
}

struct Router {
    cluster: Arc<Cluster>,
    /// The hash of each large team's members.
    versions: HashMap<TeamId, (Members, u64)>,
}

impl Router {
    async fn run(mut self, mut waiting: mpsc::Receiver<Outgoing>) {
        let mut messages = Vec::new();
        while waiting.recv_many(&mut messages, MESSAGES_AT_ONCE).await > 0 {
            let mut left = messages.drain(..).peekable();
            while left.peek().is_some() {
                let (mut some, mut uids) = (Vec::new(), Vec::new());
                let nodes = self.cluster.peers().live.len() + 1;
                while uids.len() < USERS_AT_ONCE
                    && let Some(outgoing) = left.next()
                {
                    if clock::now().duration_since(outgoing.since) > TOO_LATE {
                        continue;
                    }
                    let first = uids.len();
                    let named = outgoing.named(nodes).map(|named| {
                        uids.extend_from_slice(named);
                        uids.extend(outgoing.follows().cloned());
                        named.len()
                    });
                    some.push((outgoing, named.map(|named| (first, named))));
                }
                let found = match uids.is_empty() {
                    true => Ok(Vec::new()),
                    false => self.cluster.find(&uids).await,
                };
                for (outgoing, named) in some {
                    match (named, &found) {
                        (Some((first, named)), Ok(found)) => {
                            self.pass_to_some(outgoing, &found[first..], named)
                        }
                        // The reply is that nobody was reached elsewhere.
                        (Some(_), Err(failure)) => tracing::debug!(%failure, "a message is not sent on"),
                        (None, _) => self.pass_to_all(outgoing).await,
                    }
                }
            }
        }
    }

    /// Sends to the nodes of those who were looked up: `named` recipients, and the one who follows.
    fn pass_to_some(&mut self, outgoing: Outgoing, found: &[Elsewhere], named: usize) {
        let asked = named + usize::from(outgoing.follows().is_some());
        let Outgoing {
            mut message,
            members,
            reply,
            ..
        } = outgoing;
        let mut nodes: Vec<Incarnation> = Vec::new();
        for elsewhere in &found[..asked] {
            let new = elsewhere.nodes.iter().filter(|node| !nodes.contains(node));
            let new: Vec<_> = new.copied().collect();
            nodes.extend(new);
        }
        if let Some(members) = members {
            message.to = self.recipients(message.to, members);
        }
        let to = match &nodes[..] {
            [] => None,
            [node] => Some(To::Node(*node)),
            _ => Some(To::Nodes(nodes.into())),
        };
        if let Some(to) = to {
            self.cluster.send(to, &Packet::Message(message));
        }
        if let Some(reply) = reply {
            let reached = Reached::of(found[..named].iter().map(Elsewhere::is_online));
            reply.send(There { reached, users: 0 });
        }
    }

    async fn pass_to_all(&mut self, outgoing: Outgoing) {
        let Outgoing {
            mut message,
            members,
            reply,
            ..
        } = outgoing;
        if let Some(members) = &members {
            message.to = self.recipients(message.to, members.clone());
        }
        let Some(reply) = reply else {
            self.cluster.send(To::All, &Packet::Message(message));
            return;
        };
        let mut asking = Box::pin(ask(self.cluster.clone(), message, members, reply));
        tokio::select! {
            biased;
            () = &mut asking => {}
            // It was sent, in order with the other messages. The answers are awaited by a task of their own.
            () = std::future::ready(()) => drop(tokio::spawn(asking)),
        }
    }

    /// Names the members of a team, or only their version if they are many.
    fn recipients(&mut self, to: Recipients, members: Members) -> Recipients {
        let Recipients::Team { team, .. } = to else {
            return to;
        };
        if members.len() <= MOST_NAMED {
            return Recipients::Members(members);
        }
        let known = self.versions.get(&team);
        let version = match known.filter(|(known, _)| Arc::ptr_eq(known, &members)) {
            Some((_, version)) => *version,
            None => {
                let version = version(&members);
                if self.versions.len() >= TEAMS {
                    self.versions.clear();
                }
                self.versions.insert(team.clone(), (members, version));
                version
            }
        };
        Recipients::Team { team, version }
    }
}

/// A hash of a team's members.
pub(super) fn version(members: &[Uid]) -> u64 {
    let mut hasher = DefaultHasher::new();
    members.hash(&mut hasher);
    hasher.finish()
}

/// Sends a message to all nodes, and replies whom they have reached.
async fn ask(cluster: Arc<Cluster>, mut message: Message, members: Option<Members>, reply: Reply) {
    let peers = cluster.peers();
    let asked = cluster.questions().ask(peers.live.keys().copied());
    message.question = Some(asked.number());
    cluster.send(To::All, &Packet::Message(message));
    let answers = asked.answers(ANSWER_WITHIN).await;
    let mut reached = answers.reached();
    if let Some(members) = members.filter(|_| !peers.ended.is_empty()) {
        returning(&cluster, &members, &mut reached).await;
    }
    let users = usize::try_from(answers.count()).unwrap_or(usize::MAX);
    reply.send(There { reached, users });
}

/// Adds the members who are expected back from nodes that have just ended.
async fn returning(cluster: &Cluster, members: &[Uid], reached: &mut Reached) {
    let left: Vec<_> = (0..members.len())
        .filter(|number| !reached.has(*number))
        .collect();
    let uids: Vec<_> = left.iter().map(|number| members[*number].clone()).collect();
    if let Ok(found) = cluster.find(&uids).await {
        let online = left.iter().zip(found).filter(|(_, found)| found.is_online());
        online.for_each(|(number, _)| reached.set(*number));
    }
}
