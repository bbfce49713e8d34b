//! What a store does, in the plainest way: everything is kept whole, and every answer is counted out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::kit::team_id;
use crate::ids::{Cid, ConvId, Mid, TeamId, Uid};
use crate::store::{
    Append, Appended, JobId, JobOutcome, Message, Place, StoreError, TeamChange, TeamChanged,
};

/// The window of [`Kit`](super::Kit).
const WINDOW: u64 = 1_000;

#[derive(Default)]
pub(super) struct Plain {
    pub(super) convs: HashMap<ConvId, Conv>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) dead: u64,
    teams: BTreeMap<TeamId, (ConvId, BTreeSet<Uid>)>,
    /// Messages so far, in all conversations.
    clock: usize,
    last_mid: Option<Mid>,
}

#[derive(Default)]
pub(super) struct Conv {
    pub(super) messages: Vec<Said>,
    pub(super) closed: bool,
    pub(super) team: bool,
    /// Who sees it, and after which message.
    pub(super) floors: HashMap<Uid, usize>,
    counting: Vec<bool>,
    /// When its newest message came, and when it was made.
    moved: (usize, usize),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    kind: u16,
    from: Option<Uid>,
    cid: Option<Cid>,
    mid: Mid,
    ts: u64,
    data: String,
}

impl From<&Message> for Said {
    fn from(message: &Message) -> Self {
        Self {
            kind: message.kind,
            from: message.from.clone(),
            cid: message.cid.clone(),
            mid: message.mid,
            ts: message.ts,
            data: message.data.get().to_owned(),
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
    /// Does the same, and checks what the store told.
    pub(super) fn append(&mut self, now: u64, order: Append, told: Result<Appended, StoreError>) {
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
            let cid = order.cid.as_ref()?;
            let same = |said: &&Said| said.cid.as_ref() == Some(cid) && said.from == from;
            known
                .messages
                .iter()
                .rfind(|said| same(said) && said.ts > now - WINDOW)
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
        let sees: Vec<Uid> = match &order.place {
            Place::Pair { to, .. } => from.iter().chain([to]).cloned().collect(),
            Place::Notices(owner) => vec![owner.clone()],
            Place::Team(_) => Vec::new(),
        };
        let said = Said {
            kind: order.kind,
            from: from.clone(),
            cid: order.cid,
            mid: told.mid,
            ts: told.ts,
            data: order.data.get().to_owned(),
        };
        let seq = self.say(now, conv, said, order.counts);
        assert_eq!(told.seq.0 as usize, seq);
        let known = self.convs.get_mut(&conv).unwrap();
        known
            .floors
            .extend(sees.into_iter().filter(|_| seq == 1).map(|uid| (uid, 0)));

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

    pub(super) fn change(
        &mut self,
        now: u64,
        team: &str,
        change: TeamChange,
        told: Result<TeamChanged, StoreError>,
    ) {
        let key = team_id(team);
        let Some((conv, before)) = self.teams.get(&key).cloned() else {
            let TeamChange::Put { members, .. } = change else {
                return assert_eq!(told.unwrap_err(), StoreError::NotFound("team"));
            };
            let told = told.unwrap();
            assert!(told.created && told.notices.is_empty() && !self.convs.contains_key(&told.team.conv));
            let made = Conv {
                team: true,
                floors: members.iter().map(|uid| (uid.clone(), 0)).collect(),
                moved: (0, self.convs.len()),
                ..Conv::default()
            };
            self.convs.insert(told.team.conv, made);
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
                self.convs.get_mut(&conv).unwrap().closed = true;
                let gone: BTreeSet<_> = self.convs[&conv].messages.iter().map(|said| said.mid).collect();
                self.jobs.retain(|_, job| !gone.contains(&job.mid));
                self.teams.remove(&key);
                return;
            }
        }
        let known = self.convs.get_mut(&conv).unwrap();
        known.floors.retain(|uid, _| after.contains(uid));
        let floor = known.messages.len();
        for uid in after.difference(&before) {
            known.floors.insert(uid.clone(), floor);
        }
        let left = before.difference(&after).map(|uid| (17, uid));
        let expected: Vec<_> = left
            .chain(after.difference(&before).map(|uid| (16, uid)))
            .collect();
        assert_eq!(told.notices.len(), expected.len());
        for (notice, (kind, uid)) in told.notices.iter().zip(expected) {
            assert_eq!((notice.kind, &notice.uid), (kind, uid));
            let said = Said {
                kind,
                from: None,
                cid: None,
                mid: notice.mid,
                ts: notice.ts,
                data: notice.data.get().to_owned(),
            };
            assert_eq!(self.say(now, conv, said, false), notice.seq.0 as usize);
        }
        self.teams.insert(key, (conv, after));
    }

    /// `known` are all jobs that the store has now: those that the model lacks were made for `failed`.
    pub(super) fn finish(&mut self, id: JobId, outcome: &JobOutcome, known: impl Iterator<Item = JobId>) {
        match outcome {
            JobOutcome::Finished => drop(self.jobs.remove(&id)),
            JobOutcome::Dead => {
                self.jobs.remove(&id);
                self.dead += 1;
            }
            JobOutcome::Retry { .. } => self.jobs.get_mut(&id).unwrap().attempts += 1,
            JobOutcome::Advanced { after, failed, .. } => {
                let mut new: Vec<_> = known.filter(|id| !self.jobs.contains_key(id)).collect();
                new.sort_unstable();
                assert_eq!(new.len(), failed.len());
                let job = self.jobs.get_mut(&id).unwrap();
                job.after = Some(after.clone());
                let mid = job.mid;
                for (id, uid) in new.into_iter().zip(failed) {
                    let job = Job {
                        mid,
                        to: Some(uid.clone()),
                        after: None,
                        attempts: 1,
                    };
                    self.jobs.insert(id, job);
                }
            }
        }
    }

    /// The user's conversations, newest first, with what is unread.
    pub(super) fn conversations(&self, uid: &Uid) -> Vec<(ConvId, u64)> {
        let sees = |known: &&Conv| !known.closed && known.floors.contains_key(uid);
        let mut list: Vec<_> = self.convs.iter().filter(|(_, known)| sees(known)).collect();
        list.sort_by_key(|(_, known)| std::cmp::Reverse(known.moved));
        list.into_iter()
            .map(|(conv, known)| (*conv, known.unread(uid, known.messages.len())))
            .collect()
    }

    pub(super) fn unread(&self, uid: &Uid) -> u64 {
        self.conversations(uid).iter().map(|(_, unread)| unread).sum()
    }

    pub(super) fn unread_at(&self, uid: &Uid, conv: &ConvId, seq: usize) -> u64 {
        let known = &self.convs[conv];
        let total = self.unread(uid);
        if known.closed || !known.floors.contains_key(uid) || seq == 0 || seq > known.messages.len() {
            return total;
        }
        total - known.unread(uid, known.messages.len()) + known.unread(uid, seq)
    }

    fn say(&mut self, now: u64, conv: ConvId, said: Said, counts: bool) -> usize {
        assert!(self.last_mid < Some(said.mid), "mids increase");
        self.last_mid = Some(said.mid);
        self.clock += 1;
        let made = self.convs.len();
        let known = self.convs.entry(conv).or_insert_with(|| Conv {
            moved: (0, made),
            ..Conv::default()
        });
        let last = known.messages.last().map_or(0, |last| last.ts);
        assert_eq!(said.ts, now.max(last), "time does not go back");
        known.moved.0 = self.clock;
        known.messages.push(said);
        known.counting.push(counts);
        known.messages.len()
    }
}

impl Conv {
    /// Up to message `head`.
    fn unread(&self, uid: &Uid, head: usize) -> u64 {
        let floor = self.floors[uid].min(head);
        let others = self.messages[floor..head].iter().zip(&self.counting[floor..head]);
        others
            .filter(|(said, counts)| **counts && said.from.as_ref() != Some(uid))
            .count() as u64
    }
}
