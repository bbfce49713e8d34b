//! A model of the store in simple data structures: everything is kept whole, and every result is computed
//! from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mynah_store::ids::{Cid, ConvId, Mid, TeamId, Uid};
use mynah_store::{
    Append, Appended, ConvKind, JobId, JobOutcome, Message, Place, StoreError, TeamChange, TeamChanged,
    TeamNotice,
};

use super::positions::Known;
use crate::kit::{NOON, Setup, team_id};

/// The window of [`Kit`](super::Kit) for cids.
const WINDOW: u64 = 1_000;
/// The maximum number of milliseconds by which the time of a message is ahead of the clock.
const LATE_MS: u64 = 10_000;

pub(super) struct Plain {
    pub(super) setup: Setup,
    pub(super) convs: HashMap<ConvId, Conv>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    /// The messages of dead jobs.
    pub(super) dead: Vec<Mid>,
    /// In the order in which they became known.
    pub(super) devices: Vec<Known>,
    /// All messages that were ever written, in order: the conversation, and the number in it.
    pub(super) rows: Vec<(ConvId, usize)>,
    /// The number of deleted messages.
    pub(super) deleted: usize,
    /// The real time, in Unix milliseconds.
    pub(super) real: u64,
    /// Difference between the clock and the real time, in milliseconds.
    skew: i64,
    /// The sum of all jumps of the clock.
    pub(super) jumped: u64,
    /// How often the store was opened.
    starts: u64,
    /// The number of messages when it was last opened.
    pub(super) at_start: usize,
    /// Conversations in the order of their creation.
    pub(super) made: Vec<ConvId>,
    pub(super) teams: BTreeMap<TeamId, (ConvId, BTreeSet<Uid>)>,
    last_mid: Option<Mid>,
}

pub(super) struct Conv {
    pub(super) kind: ConvKind,
    /// All messages, including deleted ones.
    pub(super) messages: Vec<Kept>,
    /// The number of deleted messages.
    pub(super) gone: usize,
    pub(super) closed: bool,
    pub(super) seats: HashMap<Uid, Seat>,
    /// Users who have left and had a device at that time.
    pub(super) departures: HashMap<Uid, Departure>,
    /// The row of its newest message, and the order of its creation.
    moved: (usize, usize),
}

/// A user in a conversation sees messages after `floor`, and has joined when `joined` was the head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seat {
    pub(super) floor: usize,
    pub(super) joined: usize,
    pub(super) read: usize,
}

/// A user who has left a team when `head` was the head. The user saw messages after `floor`; the kind 17
/// about the user is `seq`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Departure {
    pub(super) floor: usize,
    pub(super) head: usize,
    pub(super) seq: usize,
}

pub(super) struct Kept {
    pub(super) said: Said,
    pub(super) counts: bool,
    /// The number of the message among all messages.
    pub(super) row: usize,
    /// When it was really written.
    pub(super) at: u64,
    /// The error of the clock at that time, as far as the store knows it: for older messages, that at the
    /// last start.
    pub(super) skew: i64,
}

/// The part of a message that readers see.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) seq: usize,
    pub(super) kind: u16,
    pub(super) from: Option<Uid>,
    pub(super) cid: Option<Cid>,
    pub(super) mid: Mid,
    pub(super) ts: u64,
    pub(super) data: String,
    pub(super) recalled: bool,
}

impl From<&Message> for Said {
    fn from(message: &Message) -> Self {
        Self {
            seq: message.seq.0 as usize,
            kind: message.kind,
            from: message.from.clone(),
            cid: message.cid.clone(),
            mid: message.mid,
            ts: message.ts,
            data: message.data.get().to_owned(),
            recalled: message.recalled,
        }
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Job {
    pub(super) mid: Mid,
    pub(super) to: Option<Uid>,
    pub(super) after: Option<Uid>,
    pub(super) attempts: u32,
}

impl Plain {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            setup,
            convs: HashMap::new(),
            jobs: BTreeMap::new(),
            dead: Vec::new(),
            devices: Vec::new(),
            rows: Vec::new(),
            deleted: 0,
            real: NOON,
            skew: 0,
            jumped: 0,
            starts: 1,
            at_start: 0,
            made: Vec::new(),
            teams: BTreeMap::new(),
            last_mid: None,
        }
    }

    /// Returns the time of day according to the clock.
    pub(super) fn day(&self) -> u64 {
        self.real.saturating_add_signed(self.skew)
    }

    /// Sets the clock, to differ from the real time by `skew`.
    pub(super) fn jump(&mut self, skew: i64) {
        self.jumped += self.skew.abs_diff(skew);
        self.skew = skew;
    }

    /// The store was opened again, and knows of no jump of the clock.
    pub(super) fn started(&mut self) {
        self.starts += 1;
        self.at_start = self.rows.len();
        let kept = self.convs.values_mut().flat_map(|known| &mut known.messages);
        kept.for_each(|kept| kept.skew = self.skew);
    }

    /// Returns the age of a message according to the store.
    pub(super) fn age(&self, kept: &Kept) -> u64 {
        let then = i128::from(self.real) + i128::from(kept.skew) - i128::from(kept.said.ts);
        then.max(0) as u64
    }

    /// Returns by how much the store may be wrong about the time that has passed, because the clock was set
    /// and the store was closed.
    pub(super) fn doubt(&self) -> u64 {
        self.jumped + self.starts * (60_000 + self.setup.keep_ms / 64)
    }

    /// Appends a message, and compares the result with that of the store.
    pub(super) fn append(&mut self, order: Append, told: Result<Appended, StoreError>) {
        let from = order.from.clone();
        let (conv, members) = match &order.place {
            Place::Pair { class, to } => (ConvId::pair(*class, from.as_ref().unwrap(), to), None),
            Place::Notices(owner) => (ConvId::notices(owner), None),
            Place::Team(team) => match self.teams.get(team) {
                Some((conv, members)) => (*conv, Some(members.clone())),
                None => return assert_eq!(told.unwrap_err(), StoreError::NotFound("team")),
            },
        };
        let known = self.convs.get(&conv);
        let earlier = known.and_then(|known| {
            // The store knows the newest of a sender's messages with the same cid.
            let cid = order.cid.as_ref()?;
            let same = |said: &Said| said.cid.as_ref() == Some(cid) && said.from == from;
            known
                .left()
                .rfind(|kept| same(&kept.said))
                .filter(|kept| self.age(kept) < WINDOW)
                .map(|kept| &kept.said)
        });
        if let Some(earlier) = earlier {
            let told = told.unwrap();
            assert!(told.duplicate && told.push.is_none() && told.members.is_none());
            return assert_eq!((told.mid, told.ts), (earlier.mid, earlier.ts));
        }
        let is_member = members
            .as_ref()
            .is_some_and(|members| from.iter().all(|uid| members.contains(uid)));
        if order.members_only && !is_member {
            return assert!(matches!(told, Err(StoreError::Forbidden(_))));
        }

        let told = told.unwrap();
        assert!(!told.duplicate);
        assert_eq!(told.conv, conv);
        let snapshot = told
            .members
            .map(|members| members.iter().cloned().collect::<BTreeSet<_>>());
        assert_eq!(snapshot, members);
        let (sees, kind): (Vec<Uid>, _) = match &order.place {
            Place::Pair { class, to } => {
                let mut both: Vec<_> = from.iter().chain([to]).cloned().collect();
                both.sort();
                let kind = ConvKind::Pair(*class, both[0].clone(), both[1].clone());
                (both, kind)
            }
            Place::Notices(owner) => (vec![owner.clone()], ConvKind::Notices(owner.clone())),
            Place::Team(team) => (Vec::new(), ConvKind::Team(team.clone())),
        };
        if !self.convs.contains_key(&conv) {
            self.make(conv, kind, sees);
        }
        let sender = order.device.as_ref().and_then(|device| {
            let from = from.as_ref()?;
            let sees = self.convs[&conv].seats.contains_key(from);
            self.place(from, device).filter(|_| sees)
        });
        if let Some(place) = sender {
            self.seen(place);
        }
        let head = self.convs[&conv].messages.len();
        let had_all = sender.filter(|place| self.cursor(&self.devices[*place], conv) == head);
        let said = Said {
            seq: told.seq.0 as usize,
            kind: order.kind,
            from: from.clone(),
            cid: order.cid,
            mid: told.mid,
            ts: told.ts,
            data: order.data.get().to_owned(),
            recalled: false,
        };
        let seq = self.say(conv, said, order.counts);
        if let Some(place) = had_all {
            self.devices[place].cursors.insert(conv, seq);
        }

        let to = match &order.place {
            Place::Pair { to, .. } | Place::Notices(to) => Some(to.clone()),
            Place::Team(_) => None,
        };
        let somebody = match (&to, &members) {
            (Some(to), _) => Some(to) != from.as_ref(),
            (None, members) => members.iter().flatten().any(|uid| Some(uid) != from.as_ref()),
        };
        assert_eq!(told.push.is_some(), order.push.is_some() && somebody);
        if let Some(id) = told.push {
            let made = self.jobs.insert(
                id,
                Job {
                    mid: told.mid,
                    to,
                    after: None,
                    attempts: 0,
                },
            );
            assert!(made.is_none());
        }
    }

    pub(super) fn change(&mut self, team: &str, change: TeamChange, told: Result<TeamChanged, StoreError>) {
        let key = team_id(team);
        let Some((conv, before)) = self.teams.get(&key).cloned() else {
            let TeamChange::Put { members, .. } = change else {
                return assert_eq!(told.unwrap_err(), StoreError::NotFound("team"));
            };
            let told = told.unwrap();
            assert!(told.created && told.notices.is_empty() && !self.convs.contains_key(&told.team.conv));
            self.make(told.team.conv, ConvKind::Team(key.clone()), members.clone());
            self.teams
                .insert(key, (told.team.conv, members.into_iter().collect()));
            return;
        };
        let told = told.unwrap();
        assert!(!told.created);
        let mut after = before.clone();
        match change {
            TeamChange::Put { members, .. } => after = members.into_iter().collect(),
            TeamChange::Add(uids) => after.extend(uids),
            TeamChange::Remove(uids) => after.retain(|uid| !uids.contains(uid)),
            TeamChange::Delete => {
                after.clear();
                self.told(conv, &before, &after, &told.notices);
                let seats = self.convs[&conv].seats.clone();
                self.depart(conv, &seats, &told.notices);
                self.convs.get_mut(&conv).unwrap().closed = true;
                let gone: BTreeSet<_> = self.convs[&conv]
                    .messages
                    .iter()
                    .map(|kept| kept.said.mid)
                    .collect();
                self.jobs.retain(|_, job| !gone.contains(&job.mid));
                self.dead.retain(|mid| !gone.contains(mid));
                self.teams.remove(&key);
                return;
            }
        }
        let known = self.convs.get_mut(&conv).unwrap();
        let seats = known.seats.clone();
        known.seats.retain(|uid, _| after.contains(uid));
        known.departures.retain(|uid, _| !after.contains(uid));
        let read = known.messages.len();
        let floor = if self.setup.see_all { 0 } else { read };
        for uid in after.difference(&before) {
            let joined = read;
            known.seats.insert(uid.clone(), Seat { floor, joined, read });
        }
        self.told(conv, &before, &after, &told.notices);
        self.depart(conv, &seats, &told.notices);
        self.teams.insert(key, (conv, after));
    }

    /// What was written while users were members is kept for their devices.
    fn depart(&mut self, conv: ConvId, seats: &HashMap<Uid, Seat>, notices: &[TeamNotice]) {
        let has_device = |uid: &Uid| self.devices.iter().any(|known| known.device.uid == *uid);
        let left = notices
            .iter()
            .filter(|told| told.kind == 17 && has_device(&told.uid));
        let head = notices.first().map_or(0, |first| first.seq.0 as usize - 1);
        let left = left.map(|told| {
            let departure = Departure {
                floor: seats[&told.uid].floor,
                head,
                seq: told.seq.0 as usize,
            };
            (told.uid.clone(), departure)
        });
        self.convs.get_mut(&conv).unwrap().departures.extend(left);
    }

    /// Adds the notices about users who have left and joined.
    fn told(&mut self, conv: ConvId, before: &BTreeSet<Uid>, after: &BTreeSet<Uid>, notices: &[TeamNotice]) {
        let left = before.difference(after).map(|uid| (17, uid));
        let expected: Vec<_> = left
            .chain(after.difference(before).map(|uid| (16, uid)))
            .collect();
        assert_eq!(notices.len(), expected.len());
        for (notice, (kind, uid)) in notices.iter().zip(expected) {
            assert_eq!((notice.kind, &notice.uid), (kind, uid));
            let said = Said {
                seq: notice.seq.0 as usize,
                kind,
                from: None,
                cid: None,
                mid: notice.mid,
                ts: notice.ts,
                data: notice.data.get().to_owned(),
                recalled: false,
            };
            self.say(conv, said, false);
        }
    }

    /// `known` are all jobs that the store has now. Those that are missing in the model were created by a
    /// team's job.
    pub(super) fn finish(&mut self, id: JobId, outcome: &JobOutcome, known: impl Iterator<Item = JobId>) {
        match outcome {
            JobOutcome::Finished => drop(self.jobs.remove(&id)),
            JobOutcome::Dead => {
                let job = self.jobs.remove(&id);
                self.dead.extend(job.map(|job| job.mid));
            }
            JobOutcome::Retry { .. } => self.jobs.get_mut(&id).unwrap().attempts += 1,
            JobOutcome::Later { .. } | JobOutcome::Delivered { .. } => {}
            JobOutcome::Advanced { after, jobs } => {
                let mut new: Vec<_> = known.filter(|id| !self.jobs.contains_key(id)).collect();
                new.sort_unstable();
                assert_eq!(new.len(), jobs.len());
                let job = self.jobs.get_mut(&id).unwrap();
                job.after = Some(after.clone());
                let mid = job.mid;
                for (id, (uid, _)) in new.into_iter().zip(jobs) {
                    let job = Job {
                        mid,
                        to: Some(uid.clone()),
                        after: None,
                        attempts: 0,
                    };
                    self.jobs.insert(id, job);
                }
            }
        }
    }

    /// Returns the user's conversations, newest first.
    pub(super) fn conversations(&self, uid: &Uid) -> Vec<ConvId> {
        let sees = |known: &&Conv| !known.closed && known.seats.contains_key(uid);
        let mut list: Vec<_> = self.convs.iter().filter(|(_, known)| sees(known)).collect();
        list.sort_by_key(|(_, known)| std::cmp::Reverse(known.moved));
        list.into_iter().map(|(conv, _)| *conv).collect()
    }

    pub(super) fn unread(&self, uid: &Uid) -> u64 {
        let convs = self.conversations(uid);
        convs.iter().map(|conv| self.convs[conv].unread(uid)).sum()
    }

    fn make(&mut self, conv: ConvId, kind: ConvKind, sees: Vec<Uid>) {
        let seat = Seat {
            floor: 0,
            joined: 0,
            read: 0,
        };
        let made = Conv {
            kind,
            messages: Vec::new(),
            gone: 0,
            closed: false,
            seats: sees.into_iter().map(|uid| (uid, seat)).collect(),
            departures: HashMap::new(),
            moved: (0, self.convs.len()),
        };
        assert!(self.convs.insert(conv, made).is_none());
        self.made.push(conv);
    }

    /// Adds the next message of a conversation.
    pub(super) fn say(&mut self, conv: ConvId, said: Said, counts: bool) -> usize {
        assert!(self.last_mid < Some(said.mid), "mids increase");
        self.last_mid = Some(said.mid);
        let day = self.day();
        let known = self.convs.get_mut(&conv).unwrap();
        let seq = known.messages.len() + 1;
        assert_eq!(said.seq, seq, "seq has no gaps");
        let last = known.messages.last().map_or(0, |last| last.said.ts);
        let ts = if last <= day + LATE_MS { day.max(last) } else { day };
        assert_eq!(said.ts, ts, "the clock's, and not a little earlier than before");
        known.messages.push(Kept {
            said,
            counts,
            row: self.rows.len(),
            at: self.real,
            skew: self.skew,
        });
        self.rows.push((conv, seq));
        known.moved.0 = self.rows.len();
        seq
    }
}
