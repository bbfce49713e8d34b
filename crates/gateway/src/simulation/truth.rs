//! A model of the history: what the store's callbacks reported, in commit order, in simple data structures.
//! Everything else is compared with it.
//!
//! Every callback is checked when it is called: `seq` has no gaps, `mid` never decreases, `ts` decreases only
//! after the clock was set, a `cid` belongs to one message, and members, read positions and recalls are as
//! requested.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::clock;
use crate::ids::{Cid, ConvId, Mid, Seq, TeamId, Uid};
use crate::store::{
    Append, Appended, ConvKind, Place, Read, ReadMark, Recall, Recalled, TeamChange, TeamChanged,
};

/// A message.
#[derive(Debug, Clone)]
pub(super) struct TrueMessage {
    pub(super) mid: Mid,
    pub(super) ts: u64,
    pub(super) kind: u16,
    pub(super) counts: bool,
    pub(super) from: Option<Uid>,
    pub(super) cid: Option<Cid>,
    pub(super) data: Arc<RawValue>,
    pub(super) recalled: bool,
    /// The users who must receive the message: the audience at the commit, and users who joined later and see
    /// earlier messages.
    pub(super) to: Arc<Vec<Uid>>,
    pub(super) audience: Arc<Vec<Uid>>,
    /// Another user who may receive the message: a sender who is not a member, or a member who was removed.
    also: Option<Uid>,
    /// When users who are offline must be notified; `None` if they need not be.
    pub(super) notify: Option<Notify>,
}

/// The end of the time in which a notification is useful, and the time of the commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notify {
    pub(super) expires: u64,
    pub(super) since: u64,
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Conv {
    pub(super) kind: ConvKind,
    pub(super) log: Vec<TrueMessage>,
    /// The users who see the conversation, with their floors.
    pub(super) floors: BTreeMap<Uid, u64>,
    /// The head when each user joined.
    joined: BTreeMap<Uid, u64>,
    read: BTreeMap<Uid, u64>,
    /// Users who have left: their floor, and the `seq` of the kind 17 about them.
    departures: BTreeMap<Uid, (u64, u64)>,
    pub(super) closed: bool,
}

/// The model of the whole history.
#[derive(Default)]
pub(super) struct Truth {
    pub(super) convs: BTreeMap<ConvId, Conv>,
    pub(super) teams: BTreeMap<TeamId, ConvId>,
    cids: BTreeMap<(ConvId, Option<Uid>, Cid), u64>,
    places: BTreeMap<Mid, (ConvId, u64)>,
    last_mid: Option<Mid>,
    /// New members see earlier messages.
    pub(super) see_all: bool,
    /// The clock was set, so that times may decrease.
    pub(super) clock_was_set: bool,
}

/// Whether an invariant holds, or what is wrong.
pub(super) type Verdict = Result<(), String>;

fn holds(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

impl Conv {
    fn new(kind: ConvKind) -> Self {
        let floors = match &kind {
            ConvKind::Pair(_, one, other) => [(one.clone(), 0), (other.clone(), 0)].into(),
            ConvKind::Notices(owner) => [(owner.clone(), 0)].into(),
            ConvKind::Team(_) => BTreeMap::new(),
        };
        Self {
            kind,
            log: Vec::new(),
            floors,
            joined: BTreeMap::new(),
            read: BTreeMap::new(),
            departures: BTreeMap::new(),
            closed: false,
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.log.len() as u64
    }

    pub(super) fn entry(&self, seq: u64) -> Option<&TrueMessage> {
        self.log.get(usize::try_from(seq).ok()?.checked_sub(1)?)
    }

    pub(super) fn read(&self, uid: &Uid) -> u64 {
        self.read.get(uid).copied().unwrap_or(0)
    }

    /// Returns whether the user must be able to read message `seq` now.
    pub(super) fn owes(&self, uid: &Uid, seq: u64) -> bool {
        let sees = self.floors.get(uid).is_some_and(|floor| seq > *floor);
        sees && !self.closed && self.entry(seq).is_some_and(|entry| entry.to.contains(uid))
    }

    /// Returns whether the user must be sent message `seq`: as [`Self::owes`], without messages from before
    /// the user joined.
    pub(super) fn sends(&self, uid: &Uid, seq: u64) -> bool {
        let since = self.joined.get(uid).copied().unwrap_or(0);
        seq > since && self.owes(uid, seq)
    }

    /// For a user who has left, returns the floor and the `seq` of the kind 17 about the user. In a deleted
    /// team only this last message is left.
    pub(super) fn departure(&self, uid: &Uid) -> Option<(u64, u64)> {
        let (floor, seq) = *self.departures.get(uid)?;
        Some((if self.closed { seq - 1 } else { floor }, seq))
    }

    pub(super) fn unread(&self, uid: &Uid) -> u64 {
        let read = self.read(uid) as usize;
        let counts =
            |entry: &&TrueMessage| entry.counts && !entry.recalled && entry.from.as_ref() != Some(uid);
        self.log.iter().skip(read).filter(counts).count() as u64
    }
}

impl TrueMessage {
    /// Returns whether the user may be shown the message.
    pub(super) fn may_see(&self, uid: &Uid) -> bool {
        self.to.contains(uid) || self.also.as_ref() == Some(uid)
    }
}

impl Truth {
    pub(super) fn place(&self, mid: Mid) -> Option<(ConvId, u64)> {
        self.places.get(&mid).copied()
    }

    pub(super) fn entry(&self, conv: ConvId, seq: u64) -> Option<&TrueMessage> {
        self.convs.get(&conv)?.entry(seq)
    }

    /// Returns the conversations that a user sees.
    pub(super) fn of<'a>(&'a self, uid: &'a Uid) -> impl Iterator<Item = (ConvId, &'a Conv)> {
        let convs = self.convs.iter().map(|(id, conv)| (*id, conv));
        convs.filter(move |(_, conv)| !conv.closed && conv.floors.contains_key(uid))
    }

    /// Returns the conversations that a user has left.
    pub(super) fn left_by<'a>(
        &'a self,
        uid: &'a Uid,
    ) -> impl Iterator<Item = (ConvId, &'a Conv, (u64, u64))> {
        let convs = self.convs.iter();
        convs.filter_map(move |(id, conv)| Some((*id, conv, conv.departure(uid)?)))
    }

    pub(super) fn unread(&self, uid: &Uid) -> u64 {
        self.of(uid).map(|(_, conv)| conv.unread(uid)).sum()
    }

    /// Returns the last message of a conversation that is for a user who is a member or has left.
    pub(super) fn seen(&self, conv: ConvId, uid: &Uid) -> u64 {
        let Some(conv) = self.convs.get(&conv) else {
            return 0;
        };
        conv.departure(uid).map_or(conv.head(), |(_, seq)| seq)
    }

    pub(super) fn heads(&self) -> BTreeMap<ConvId, u64> {
        self.convs.iter().map(|(id, conv)| (*id, conv.head())).collect()
    }

    fn log(&mut self, id: ConvId, seq: Seq, entry: TrueMessage) -> Verdict {
        let conv = self
            .convs
            .get_mut(&id)
            .ok_or("a message of an unknown conversation")?;
        holds(seq.0 == conv.head() + 1, || {
            format!("seq {seq} of {id} follows {}", conv.head())
        })?;
        let last = conv.log.last().map_or(0, |last| last.ts);
        holds(self.clock_was_set || entry.ts >= last, || {
            format!("ts of {id} {seq} goes back")
        })?;
        let mid = entry.mid;
        holds(self.last_mid < Some(mid), || format!("mid {mid} goes back"))?;
        self.last_mid = Some(mid);
        self.places.insert(mid, (id, seq.0));
        conv.log.push(entry);
        Ok(())
    }

    pub(super) fn appended(&mut self, order: &Append, told: &Appended, now: u64) -> Verdict {
        let (id, seq) = (told.conv, told.seq);
        let key = order.cid.clone().map(|cid| (id, order.from.clone(), cid));
        let before = key.as_ref().and_then(|key| self.cids.get(key)).copied();
        if told.duplicate || before.is_some() {
            let first = before.and_then(|seq| Some((seq, self.entry(id, seq)?)));
            let same = |(at, entry): (u64, &TrueMessage)| {
                told.duplicate && (at, entry.mid, entry.ts) == (seq.0, told.mid, told.ts)
            };
            return holds(first.is_some_and(same), || {
                format!("{order:?} is not the same message again: {told:?}")
            });
        }
        if let Place::Team(team) = &order.place {
            holds(self.teams.get(team) == Some(&id), || {
                format!("{team} now has conversation {id}")
            })?;
        } else {
            let new = || Conv::new(kind_of(order));
            self.convs.entry(id).or_insert_with(new);
        }
        let conv = &self.convs[&id];
        let to: Arc<Vec<Uid>> = Arc::new(conv.floors.keys().cloned().collect());
        if let ConvKind::Team(team) = &conv.kind {
            holds(told.members.as_ref() == Some(&to), || {
                format!("members of {team} are {to:?}, not {:?}", told.members)
            })?;
            let member = order.from.as_ref().is_some_and(|from| to.contains(from));
            holds(member || !order.members_only, || {
                format!("{:?} wrote to {team}", order.from)
            })?;
        }
        if let Some(key) = key {
            self.cids.insert(key, seq.0);
        }
        let notices = matches!(order.place, Place::Notices(_));
        let entry = TrueMessage {
            mid: told.mid,
            ts: told.ts,
            kind: order.kind,
            counts: order.counts,
            from: order.from.clone(),
            cid: order.cid.clone(),
            data: order.data.clone(),
            recalled: false,
            audience: to.clone(),
            to,
            also: order.from.clone().filter(|_| !notices),
            notify: order.push.map(|push| Notify {
                expires: clock::steady_millis().saturating_add(push.expires_in_ms),
                since: now,
            }),
        };
        self.log(id, seq, entry)
    }

    pub(super) fn changed(&mut self, team: &TeamId, change: &TeamChange, told: &TeamChanged) -> Verdict {
        let id = told.team.conv;
        if told.created {
            holds(!self.teams.contains_key(team), || {
                format!("{team} is created twice")
            })?;
            holds(!self.convs.contains_key(&id), || format!("{id} is created twice"))?;
            self.teams.insert(team.clone(), id);
            self.convs.insert(id, Conv::new(ConvKind::Team(team.clone())));
        }
        holds(self.teams.get(team) == Some(&id), || {
            format!("{team} now has conversation {id}")
        })?;
        let conv = self.convs.get_mut(&id).ok_or("a team without a conversation")?;
        let before: BTreeSet<Uid> = conv.floors.keys().cloned().collect();
        let named = |uids: &[Uid]| uids.iter().cloned().collect::<BTreeSet<Uid>>();
        let after: BTreeSet<Uid> = match change {
            TeamChange::Put { members, .. } => named(members),
            TeamChange::Add(uids) => &before | &named(uids),
            TeamChange::Remove(uids) => &before - &named(uids),
            TeamChange::Delete => {
                conv.closed = true;
                self.teams.remove(team);
                BTreeSet::new()
            }
        };
        let to: Arc<Vec<Uid>> = Arc::new(after.iter().cloned().collect());
        holds(told.team.members == to, || {
            format!("{team} has {:?}, not {to:?}", told.team.members)
        })?;
        let head = conv.head();
        let floors = conv.floors.clone();
        conv.floors.retain(|uid, _| after.contains(uid));
        conv.departures.retain(|uid, _| !after.contains(uid));
        conv.read.retain(|uid, _| after.contains(uid));
        for uid in after.difference(&before) {
            conv.read.insert(uid.clone(), head);
            conv.joined.insert(uid.clone(), head);
            let floor = if self.see_all { 0 } else { head };
            conv.floors.insert(uid.clone(), floor);
            for entry in conv.log.iter_mut().filter(|_| self.see_all) {
                Arc::make_mut(&mut entry.to).push(uid.clone());
            }
        }
        let gone = before.difference(&after).map(|uid| (17, uid));
        let came = after.difference(&before).map(|uid| (16, uid));
        let due: Vec<_> = gone.chain(came).filter(|_| !told.created).collect();
        let notices = told.notices.iter().map(|notice| (notice.kind, &notice.uid));
        holds(notices.eq(due.iter().copied()), || {
            format!("{team} has notices {:?}, not {due:?}", told.notices)
        })?;
        for notice in told.notices.iter().filter(|notice| notice.kind == 17) {
            let floor = floors.get(&notice.uid).copied().unwrap_or(0);
            conv.departures.insert(notice.uid.clone(), (floor, notice.seq.0));
        }
        for notice in &told.notices {
            let entry = TrueMessage {
                mid: notice.mid,
                ts: notice.ts,
                kind: notice.kind,
                counts: false,
                from: None,
                cid: None,
                data: notice.data.clone(),
                recalled: false,
                audience: to.clone(),
                to: to.clone(),
                also: Some(notice.uid.clone()),
                notify: None,
            };
            self.log(id, notice.seq, entry)?;
        }
        Ok(())
    }

    pub(super) fn was_read(&mut self, read: &Read, told: &ReadMark) -> Verdict {
        let uid = &read.by.uid;
        let conv = self
            .convs
            .get_mut(&read.conv)
            .ok_or("a read in an unknown conversation")?;
        if conv.closed || !conv.floors.contains_key(uid) {
            // A device of a former member has received what was left for it.
            let may = conv.departures.contains_key(uid) && !told.moved;
            return holds(may, || format!("{uid} reads a conversation of others"));
        }
        let before = conv.read(uid);
        let after = before.max(read.seq.0.min(conv.head()));
        conv.read.insert(uid.clone(), after);
        holds(
            (told.seq.0, told.moved, &told.kind) == (after, after > before, &conv.kind),
            || format!("{read:?} led from {before} to {told:?}"),
        )
    }

    pub(super) fn recalled(&mut self, recall: &Recall, told: &Recalled) -> Verdict {
        let (id, at) = self.place(recall.mid).ok_or("a recall of an unknown message")?;
        let conv = self
            .convs
            .get_mut(&id)
            .ok_or("a message of an unknown conversation")?;
        let (kind, closed) = (conv.kind.clone(), conv.closed);
        let to: Arc<Vec<Uid>> = Arc::new(conv.floors.keys().cloned().collect());
        let entry = &mut conv.log[at as usize - 1];
        let may = !entry.recalled && entry.from.as_ref() == Some(&recall.by) && entry.kind != recall.kind;
        entry.recalled = true;
        holds(may && !closed, || {
            format!("{} recalled a message that it must not recall", recall.by)
        })?;
        if let ConvKind::Team(team) = &kind {
            holds(to.contains(&recall.by), || {
                format!("{} recalled a message without being a member", recall.by)
            })?;
            holds(told.appended.members.as_ref() == Some(&to), || {
                format!("members of {team} are {to:?}, not {:?}", told.appended.members)
            })?;
        }
        holds(told.appended.conv == id && told.kind == kind, || {
            format!("a recall was stored in another conversation: {told:?}")
        })?;
        let notices = matches!(kind, ConvKind::Notices(_));
        let entry = TrueMessage {
            mid: told.appended.mid,
            ts: told.appended.ts,
            kind: recall.kind,
            counts: false,
            from: Some(recall.by.clone()),
            cid: None,
            data: recall.data.clone(),
            recalled: false,
            audience: to.clone(),
            to,
            also: Some(recall.by.clone()).filter(|_| !notices),
            notify: None,
        };
        self.log(id, told.appended.seq, entry)
    }
}

fn kind_of(order: &Append) -> ConvKind {
    match (&order.place, &order.from) {
        (Place::Pair { class, to }, Some(from)) => {
            ConvKind::Pair(*class, from.min(to).clone(), from.max(to).clone())
        }
        (Place::Pair { to, .. } | Place::Notices(to), _) => ConvKind::Notices(to.clone()),
        (Place::Team(team), _) => ConvKind::Team(team.clone()),
    }
}
