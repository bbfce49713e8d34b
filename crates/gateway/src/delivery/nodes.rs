//! What delivery says to other nodes, and hears from them.

use std::sync::Arc;

use mynah_cluster::{Answer as Answered, Incarnation, Message, Packet, Recipients, Stored as Place, To};
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::fanout::Fanout;
use super::gate::{self, Gate, answering};
use super::repair::{self, Reader};
use super::route::{self, Reply, Route, There};
use super::tally::{OnDelivered, Tally};
use super::work::{Answer, Arrival, Committed, Door, OTHERS_AT_ONCE, Receipt, Remote, lane};
use crate::cluster::Cluster;
use crate::ids::{ConvId, Mid, Seq, TeamId, Uid};
use crate::kinds::Kind;
use crate::store::follow::{Follow, Numbers, Point};
use crate::store::{self, Members, Store, StoreError, TeamChanged, UnixMillis};

/// The maximum number of teams whose members are read at one time, for messages that are not stored.
const TEAMS_AT_ONCE: usize = 64;

/// What a node of several needs to deliver.
pub(crate) struct Others {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) record: Arc<dyn Follow>,
    pub(crate) store: Arc<dyn Store>,
    /// The moment from which on the record is followed.
    pub(crate) begin: Point,
}

/// A message that is not stored.
pub(crate) struct Unstored {
    pub(crate) kind: u16,
    pub(crate) data: Arc<RawValue>,
    pub(crate) from: Option<Uid>,
    pub(crate) ts: UnixMillis,
}

/// The recipients of a message that is not stored.
pub(crate) enum Whom {
    Users(Members),
    /// A team, with its members.
    Team(TeamId, Members),
    Everyone,
}

/// The other nodes, and what follows the record.
pub(super) struct Nodes {
    cluster: Arc<Cluster>,
    route: Route,
    reader: Arc<Reader>,
    store: Arc<dyn Store>,
    doors: Vec<Door>,
    reading: Arc<Semaphore>,
    follower: AbortHandle,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Nodes {
    /// Starts the lanes with their gates, and the follower.
    pub(super) fn start(
        others: Others,
        fanout: &Fanout,
        queues: &[mpsc::Sender<Arrival>],
        lanes: Vec<mpsc::Receiver<Arrival>>,
    ) -> Self {
        let Others {
            cluster,
            record,
            store,
            begin,
        } = others;
        let reader = Arc::new(Reader::new(record, store.clone()));
        let begin = Arc::new(begin);
        let mut doors = Vec::new();
        for (queue, arrivals) in queues.iter().zip(lanes) {
            let door = Door {
                lane: queue.downgrade(),
                room: Arc::new(Semaphore::new(OTHERS_AT_ONCE)),
            };
            let gate = Gate::new(begin.clone(), fanout.clone(), reader.clone(), door.clone());
            tokio::spawn(fanout.clone().run(arrivals, Some(gate)));
            doors.push(door);
        }
        let following = repair::follow(reader.clone(), fanout.registry.clone(), doors.clone(), begin);
        Self {
            route: Route::start(cluster.clone()),
            cluster,
            reader,
            store,
            doors,
            reading: Arc::new(Semaphore::new(TEAMS_AT_ONCE)),
            follower: tokio::spawn(following).abort_handle(),
        }
    }

    /// Sends a message that was committed. `is_alone` says that the sender has no other connection.
    pub(super) fn message(&self, committed: &Committed, answer: OnDelivered, is_alone: bool) -> Answer {
        let (message, appended) = (&committed.message, &committed.appended);
        let Some(numbers) = appended.numbers else {
            return Answer::Here(answer);
        };
        let (to, members) = match (&message.place, &appended.members) {
            (store::Place::Team(team), members) => {
                let to = Recipients::Team {
                    team: team.clone(),
                    version: 0,
                };
                (to, Some(members.clone().unwrap_or_default()))
            }
            (store::Place::Pair { to, .. } | store::Place::Notices(to), _) => {
                (Recipients::Users(Arc::new(vec![to.clone()])), None)
            }
        };
        let (answer, reply) = match committed.counts {
            true => {
                let tally = Tally::new(answer);
                let other = tally.clone();
                let reply = Reply::new(move |there| other.elsewhere(there.reached));
                (Answer::Together(tally), Some(reply))
            }
            false => (Answer::Here(answer), None),
        };
        let place = place(appended.conv, (appended.seq, appended.mid), numbers);
        let message = Message {
            kind: message.kind,
            data: message.data.clone(),
            from: message.from.clone(),
            cid: message.cid.clone(),
            ts: appended.ts,
            stored: Some(place),
            to,
            follow: committed.follower().cloned(),
            question: None,
        };
        self.route.send(message, members, is_alone, reply);
        answer
    }

    /// Sends the notices of a change.
    pub(super) fn change(&self, changed: &TeamChanged) {
        for notice in &changed.notices {
            let Some(numbers) = notice.numbers else { return };
            let (team, members) = (&changed.team, &changed.team.members);
            let left = members.binary_search(&notice.uid).is_err();
            let message = Message {
                kind: notice.kind,
                data: notice.data.clone(),
                from: None,
                cid: None,
                ts: notice.ts,
                stored: Some(place(team.conv, (notice.seq, notice.mid), numbers)),
                to: Recipients::Team {
                    team: team.team.clone(),
                    version: 0,
                },
                follow: left.then(|| notice.uid.clone()),
                question: None,
            };
            self.route.send(message, Some(members.clone()), false, None);
        }
    }

    /// Sends kind 107.
    pub(super) fn receipt(&self, receipt: &Receipt, is_alone: bool) {
        let to = match is_alone && receipt.to.contains(&receipt.by) {
            true => Arc::new(
                receipt
                    .to
                    .iter()
                    .filter(|uid| **uid != receipt.by)
                    .cloned()
                    .collect(),
            ),
            false => receipt.to.clone(),
        };
        if to.is_empty() {
            return;
        }
        let message = Message {
            kind: Kind::ReadPush.number(),
            data: receipt.data.clone(),
            from: None,
            cid: None,
            ts: receipt.ts,
            stored: None,
            to: Recipients::Users(to),
            follow: None,
            question: None,
        };
        self.route.send(message, None, false, None);
    }

    /// Sends a message that is not stored. Returns whom the nodes have reached, later.
    pub(super) fn unstored(
        &self,
        message: Unstored,
        whom: Whom,
        follow: Option<Uid>,
    ) -> oneshot::Receiver<There> {
        let (sender, receiver) = oneshot::channel();
        // The caller may have stopped waiting.
        let reply = Reply::new(move |there| drop(sender.send(there)));
        let (to, members) = match whom {
            Whom::Users(uids) => (Recipients::Users(uids), None),
            Whom::Team(team, members) => (Recipients::Team { team, version: 0 }, Some(members)),
            Whom::Everyone => (Recipients::Everyone, None),
        };
        let message = Message {
            kind: message.kind,
            data: message.data,
            from: message.from,
            cid: None,
            ts: message.ts,
            stored: None,
            to,
            follow,
            question: None,
        };
        self.route.send(message, members, false, Some(reply));
        receiver
    }

    /// Returns the present moment of the record.
    pub(super) async fn point(&self) -> Result<Arc<Point>, StoreError> {
        self.reader.point().await
    }

    /// Delivers what another node has sent.
    pub(super) fn receive(&self, fanout: &Fanout, from: Incarnation, message: Message) {
        if let Some(Place { conv, .. }) = message.stored {
            let answer = answering(&self.cluster, from, &message);
            let door = &self.doors[lane(conv, self.doors.len())];
            door.try_send(Remote::Message(Box::new(message), answer));
            return;
        }
        let frame = Arc::new(gate::frame(&message));
        match &message.to {
            Recipients::Users(uids) => {
                for uid in uids.iter().chain(&message.follow) {
                    fanout.user(uid, None, &frame);
                }
            }
            Recipients::Everyone => {
                let count = Answered::Count(fanout.everyone(None, &frame) as u64);
                if let Some(number) = message.question {
                    let answer = Packet::Answer {
                        number,
                        answer: count,
                    };
                    self.cluster.send(To::Node(from), &answer);
                }
            }
            Recipients::Members(members) => {
                let (fanout, members) = (fanout.clone(), members.clone());
                let answer = answering(&self.cluster, from, &message);
                tokio::spawn(async move {
                    let reached = fanout.members(members, None, frame).await;
                    if let Some(answer) = answer {
                        answer(reached);
                    }
                });
            }
            Recipients::Team { team, version } => {
                // If too many are being read, the message is dropped.
                let Ok(permit) = self.reading.clone().try_acquire_owned() else {
                    return;
                };
                let (fanout, store, team, version) =
                    (fanout.clone(), self.store.clone(), team.clone(), *version);
                let answer = answering(&self.cluster, from, &message);
                tokio::spawn(async move {
                    let Ok(Some(team)) = store.team(team).await else {
                        return;
                    };
                    let is_same = route::version(&team.members) == version;
                    let reached = fanout.members(team.members, None, frame).await;
                    // Of other members, the numbers would be wrong.
                    if let Some(answer) = answer.filter(|_| is_same) {
                        answer(reached);
                    }
                    drop(permit);
                });
            }
        }
    }
}

fn place(conv: ConvId, (seq, mid): (Seq, Mid), numbers: Numbers) -> Place {
    Place {
        mid,
        conv,
        seq,
        numbers,
    }
}
