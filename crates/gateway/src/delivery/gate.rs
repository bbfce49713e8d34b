//! The gate of a lane, on a node of several: what comes to the lane passes in the order of its place.
//!
//! See [`positions`](super::positions) for the order. The gate also looks up who the members of a large team
//! are, and reads what is missing ([`repair`](super::repair)).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mynah_cluster::{Answer, Message, Packet, Reached, Recipients, To};

use super::fanout::Fanout;
use super::positions::{Gap, Next, Place, Positions};
use super::repair::Reader;
use super::work::{Answering, Arrival, Committed, Door, Found, Passed, Read, Remote, Whose, Work};
use crate::clock;
use crate::cluster::Cluster;
use crate::frame::{Envelope, Frame};
use crate::ids::{ConvId, Seq, Uid};
use crate::store::follow::Point;
use crate::store::{Members, StoreError};

/// How long a message waits for the one before it, which another node may have sent already.
const WAIT: Duration = Duration::from_millis(30);
/// The wait after the record could not be read.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a conversation is remembered after its last message.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Makes the answer to a question of another node about a message.
pub(super) fn answering(
    cluster: &Arc<Cluster>,
    to: mynah_cluster::Incarnation,
    message: &Message,
) -> Option<Answering> {
    let (cluster, number) = (cluster.clone(), message.question?);
    Some(Box::new(move |reached| {
        let answer = Answer::Reached(reached);
        cluster.send(To::Node(to), &Packet::Answer { number, answer });
    }))
}

/// What waits at the gate.
enum Item {
    Own(Work),
    Other(Box<Message>, Option<Answering>),
}

/// See the module.
pub(super) struct Gate {
    positions: Positions<Item, Whose>,
    /// The members of large teams, with the version of the messages to them.
    teams: HashMap<ConvId, (u64, Members)>,
    fanout: Fanout,
    reader: Arc<Reader>,
    door: Door,
}

impl Gate {
    /// A gate of a node whose follower begins at this moment.
    pub(super) fn new(begin: Arc<Point>, fanout: Fanout, reader: Arc<Reader>, door: Door) -> Self {
        Self {
            positions: Positions::new(begin),
            teams: HashMap::new(),
            fanout,
            reader,
            door,
        }
    }

    /// Takes what has come. What can be delivered is added to `ready`, in order.
    pub(super) fn take(&mut self, arrival: Arrival, ready: &mut Vec<Work>) {
        match arrival {
            Arrival::Own(work) => self.own(work, ready),
            Arrival::Remote(remote, permit) => {
                drop(permit);
                self.remote(remote, ready);
            }
        }
    }

    fn own(&mut self, work: Work, ready: &mut Vec<Work>) {
        let Some(place) = place(&work) else {
            ready.push(work);
            return;
        };
        // The API may be called on a node that has none of the recipients and knows little about the
        // conversation. Nobody there depends on the order.
        if self.positions.would_wait(&place) && !self.is_anyone_here(&work) {
            ready.push(work);
            return;
        }
        let whose = || whose(&work);
        let item = whose();
        self.positions
            .offer(place, (Item::Own(work), 0, true), clock::now(), || item);
        self.go_on(place.conv, ready);
    }

    fn remote(&mut self, remote: Remote, ready: &mut Vec<Work>) {
        let now = clock::now();
        match remote {
            Remote::Message(message, answer) => {
                let Some(stored) = message.stored else { return };
                let place = Place {
                    conv: stored.conv,
                    first: stored.seq,
                    last: stored.seq,
                    numbers: Some(stored.numbers),
                };
                let (whose, bytes) = (Whose::of(&message), message.data.get().len() + 256);
                let item = Item::Other(message, answer);
                self.positions.offer(place, (item, bytes, false), now, || whose);
                self.go_on(stored.conv, ready);
            }
            Remote::Overdue(conv) => match self.positions.overdue(conv) {
                Some((gap, whose)) => self.read(gap, whose, None),
                None => self.go_on(conv, ready),
            },
            Remote::Read(gap, Ok(read)) => self.was_read(gap.conv, read, ready),
            Remote::Read(Gap { conv, .. }, Err(error @ StoreError::Unavailable(_))) => {
                tracing::debug!(%error, "messages for connections of this node are read later");
                self.positions.failed(conv);
                self.later(AGAIN, Remote::Overdue(conv));
            }
            // The conversation was deleted.
            Remote::Read(Gap { conv, through, .. }, Err(_)) => {
                self.positions.end_reading(conv, through, now);
                self.go_on(conv, ready);
            }
            Remote::News(stretch, whose) => {
                if let Some((gap, whose)) = self.positions.found(stretch, now, whose) {
                    self.read(gap, whose, None);
                }
            }
            Remote::Handled(point) => {
                let unused = now.checked_sub(REMEMBERED).unwrap_or(now);
                self.positions.set_handled(point, unused);
                self.teams.retain(|conv, _| self.positions.knows(*conv));
            }
        }
    }

    /// Lets pass whatever has its turn.
    fn go_on(&mut self, conv: ConvId, ready: &mut Vec<Work>) {
        loop {
            let teams = &self.teams;
            match self.positions.next(conv, |item| is_ready(teams, conv, item)) {
                Next::Deliver(item, skip) => ready.extend(self.work(conv, item, skip)),
                Next::Repeated(item) => self.repeated(conv, item, ready),
                Next::Unready(seq) => {
                    let version = self.positions.first(conv).and_then(version);
                    if let Some((gap, whose)) = self.positions.begin_reading(conv) {
                        let after = Some(gap.through);
                        self.read(Gap { after, ..gap }, whose, version.map(|version| (seq, version)));
                    }
                    return;
                }
                Next::Wait(begins) => {
                    if begins {
                        self.later(WAIT, Remote::Overdue(conv));
                    }
                    return;
                }
                Next::Nothing => {
                    if let Some((gap, whose)) = self.positions.begin_reading(conv) {
                        self.read(gap, whose, None);
                    }
                    return;
                }
            }
        }
    }

    fn was_read(&mut self, conv: ConvId, read: Read, ready: &mut Vec<Work>) {
        if let Some(members) = read.members {
            self.teams.insert(conv, members);
        }
        let is_own = |item: &Item| matches!(item, Item::Own(_));
        for found in read.messages {
            if self.positions.read(conv, found.message.seq, is_own) {
                ready.push(Work::Passed(Box::new(passed(found))));
            } else {
                self.go_on(conv, ready);
            }
        }
        self.positions.end_reading(conv, read.through, clock::now());
        self.go_on(conv, ready);
    }

    fn work(&self, conv: ConvId, item: Item, skip: u64) -> Option<Work> {
        Some(match item {
            Item::Own(Work::Change(mut change)) => {
                change.told = usize::try_from(skip).unwrap_or(usize::MAX);
                Work::Change(change)
            }
            Item::Own(work) => work,
            Item::Other(message, answer) => {
                let to = self.members(conv, &message)?;
                Work::Passed(Box::new(Passed {
                    conv,
                    frame: Arc::new(frame(&message)),
                    to,
                    also: message.follow,
                    answer,
                    number: None,
                }))
            }
        })
    }

    fn repeated(&self, conv: ConvId, item: Item, ready: &mut Vec<Work>) {
        match item {
            Item::Own(Work::Message(committed, waiting)) => ready.push(Work::Told(committed, waiting)),
            Item::Own(Work::Change(mut change)) => {
                change.told = usize::MAX;
                ready.push(Work::Change(change));
            }
            Item::Own(work) => ready.push(work),
            Item::Other(message, answer) => {
                if let (Some(answer), Some(to)) = (answer, self.members(conv, &message)) {
                    answer(Reached::of(
                        to.iter().map(|uid| self.fanout.registry.is_online(uid)),
                    ));
                }
            }
        }
    }

    fn members(&self, conv: ConvId, message: &Message) -> Option<Members> {
        match &message.to {
            Recipients::Users(uids) | Recipients::Members(uids) => Some(uids.clone()),
            Recipients::Team { version, .. } => {
                let (known, members) = self.teams.get(&conv)?;
                (known == version).then(|| members.clone())
            }
            Recipients::Everyone => None,
        }
    }

    fn is_anyone_here(&self, work: &Work) -> bool {
        let is_here = |uid: &Uid| self.fanout.registry.is_online(uid);
        match work {
            Work::Message(committed, _) => {
                let members = committed.appended.members.as_deref().map_or(&[][..], |all| all);
                committed.to().is_some_and(is_here)
                    || committed.follower().is_some_and(is_here)
                    || members.iter().any(is_here)
            }
            _ => true,
        }
    }

    /// Reads, and if `members_at` is given, also who the members were when that message was committed, which
    /// is that version.
    fn read(&self, gap: Gap, whose: Whose, members_at: Option<(Seq, u64)>) {
        let (reader, door, handled) = (
            self.reader.clone(),
            self.door.clone(),
            self.positions.handled().clone(),
        );
        tokio::spawn(async move {
            let read = reader.read(gap, &whose, &handled, members_at).await;
            door.send(Remote::Read(gap, read)).await;
        });
    }

    fn later(&self, wait: Duration, remote: Remote) {
        let door = self.door.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            door.send(remote).await;
        });
    }
}

/// The place of a commit of this node; `None` if its order does not matter.
fn place(work: &Work) -> Option<Place> {
    match work {
        Work::Message(Committed { appended, .. }, _) if !appended.duplicate => Some(Place {
            conv: appended.conv,
            first: appended.seq,
            last: appended.seq,
            numbers: appended.numbers,
        }),
        Work::Change(change) => {
            let notices = &change.changed.notices;
            let (first, last) = (notices.first()?, notices.last()?);
            Some(Place {
                conv: change.changed.team.conv,
                first: first.seq,
                last: last.seq,
                numbers: first.numbers,
            })
        }
        _ => None,
    }
}

fn whose(work: &Work) -> Whose {
    match work {
        Work::Message(committed, _) => match (committed.to(), committed.follower()) {
            (Some(to), from) => Whose::users(to.clone(), from.cloned()),
            (None, _) => Whose::Team,
        },
        _ => Whose::Team,
    }
}

/// Whether the recipients of an item are known.
fn is_ready(teams: &HashMap<ConvId, (u64, Members)>, conv: ConvId, item: &Item) -> bool {
    let Some(version) = version(item) else { return true };
    teams.get(&conv).is_some_and(|(known, _)| *known == version)
}

/// The version of the members of a large team to whom another node has sent.
fn version(item: &Item) -> Option<u64> {
    match item {
        Item::Other(message, _) => match message.to {
            Recipients::Team { version, .. } => Some(version),
            Recipients::Users(_) | Recipients::Members(_) | Recipients::Everyone => None,
        },
        Item::Own(_) => None,
    }
}

/// The frame of a message of another node.
pub(super) fn frame(message: &Message) -> Frame {
    Frame::push(&Envelope {
        kind: message.kind,
        data: &message.data,
        place: message.stored.map(|stored| (stored.mid, stored.conv, stored.seq)),
        from: message.from.as_ref(),
        cid: message.cid.as_ref(),
        ts: message.ts,
        recalled: false,
    })
}

fn passed(found: Found) -> Passed {
    Passed {
        conv: found.message.conv,
        frame: Arc::new(Frame::push(&Envelope::from(&found.message))),
        to: found.to,
        also: found.also,
        answer: None,
        number: Some(found.number),
    }
}
