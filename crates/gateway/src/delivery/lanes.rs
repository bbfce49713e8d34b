//! The order in which a delivery task does its work.
//!
//! The task works in slices of [`SLICE`] recipients. Work that takes more than one slice waits
//! in the lane of its conversation, and later work of that conversation waits behind it. The lanes and new
//! work take turns, so that a message to a large team does not delay other conversations. Invariant: within a
//! conversation the order is that of the commits, however many slices a message takes. On a node of several,
//! the gate makes that order before.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mynah_cluster::Reached;
use tokio::sync::mpsc;

use super::fanout::{Budget, Fan, Fanout, SLICE};
use super::gate::Gate;
use super::tally::Outcome;
use super::work::{Answer, Arrival, Change, Committed, Passed, Receipt, Waiting, Work};
use crate::clock;
use crate::frame::{Envelope, Frame};
use crate::ids::{ConvId, Uid};
use crate::kinds::Kind;
use crate::order::Stored;
use crate::store::TeamNotice;

/// Work that was begun and takes more than a slice.
enum Begun {
    Message(Committed, Waiting, Fan),
    Receipt(Box<dyn FnOnce() + Send>, Fan),
    Change(Box<Change>),
    Passed(Box<Passed>, Fan),
}

/// A conversation with work that was begun, and the work that waits behind it. A lane without both does not
/// exist.
struct Lane {
    begun: Option<Begun>,
    waiting: VecDeque<Work>,
}

/// The conversations of a task that wait for their turn. There is almost never one.
#[derive(Default)]
struct Lanes {
    lanes: HashMap<ConvId, Lane>,
    turns: VecDeque<ConvId>,
}

impl Fanout {
    /// Works until the queue ends. A node of several has a gate.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Arrival>, mut gate: Option<Gate>) {
        let mut budget = Budget::default();
        let mut lanes = Lanes::default();
        let mut ready = Vec::new();
        loop {
            // One new item, then one slice of a waiting conversation, and so on.
            let came = match lanes.turns.is_empty() {
                true => match queue.recv().await {
                    Some(came) => Some(came),
                    None => return,
                },
                false => queue.try_recv().ok(),
            };
            match (came, &mut gate) {
                (None, _) => {}
                (Some(Arrival::Own(work)), None) => {
                    self.begin_or_queue(work, &mut lanes, &mut budget).await;
                }
                (Some(came), Some(gate)) => {
                    gate.take(came, &mut ready);
                    for work in ready.drain(..) {
                        self.begin_or_queue(work, &mut lanes, &mut budget).await;
                    }
                }
                // Nothing comes from elsewhere.
                (Some(Arrival::Remote(..)), None) => {}
            }
            if !lanes.turns.is_empty() {
                self.slice(&mut lanes, &mut budget).await;
            }
        }
    }

    /// Begins new work, unless older work of its conversation is unfinished.
    async fn begin_or_queue(&self, work: Work, lanes: &mut Lanes, budget: &mut Budget) {
        let conv = work.conv();
        if let Some(lane) = lanes.lanes.get_mut(&conv) {
            lane.waiting.push_back(work);
        } else if let Some(begun) = self.begin(work, budget).await {
            let (begun, waiting) = (Some(begun), VecDeque::new());
            lanes.lanes.insert(conv, Lane { begun, waiting });
            lanes.turns.push_back(conv);
        }
    }

    /// Continues with the conversation whose turn it is.
    async fn slice(&self, lanes: &mut Lanes, budget: &mut Budget) {
        let Some(conv) = lanes.turns.pop_front() else {
            return;
        };
        let Some(Lane { begun, mut waiting }) = lanes.lanes.remove(&conv) else {
            return;
        };
        let begun = if let Some(begun) = begun {
            self.go_on(begun, budget).await
        } else if let Some(next) = waiting.pop_front() {
            self.begin(next, budget).await
        } else {
            None
        };
        if begun.is_some() || !waiting.is_empty() {
            lanes.lanes.insert(conv, Lane { begun, waiting });
            lanes.turns.push_back(conv);
        }
    }

    /// Does the first slice of new work. Returns the work if it is not finished.
    async fn begin(&self, work: Work, budget: &mut Budget) -> Option<Begun> {
        let begun = match work {
            Work::Message(committed, waiting) => return self.message(committed, waiting, budget).await,
            Work::Told(committed, waiting) => {
                self.told(&committed, waiting);
                return None;
            }
            Work::Passed(mut passed) => {
                let (frame, to) = (passed.frame.clone(), std::mem::take(&mut passed.to));
                budget.frame(frame.len()).await;
                let mut fan = Fan::new(frame, to, None);
                fan.number = passed.number;
                if passed.answer.is_some() {
                    fan = fan.noting();
                }
                Begun::Passed(passed, fan)
            }
            Work::Receipt(receipt) => {
                let Receipt {
                    data,
                    ts,
                    to,
                    except,
                    answer,
                    ..
                } = *receipt;
                let frame = Arc::new(Frame::notice(Kind::ReadPush, &data, ts));
                Begun::Receipt(answer, Fan::new(frame, to, Some(except)))
            }
            Work::Change(mut change) => {
                // The connected members are looked up once for all notices: replacing many members makes many
                // notices to many members.
                if change.changed.notices.len() > 1 {
                    let there = change.there.iter().filter(|uid| self.registry.is_online(uid));
                    change.there = Arc::new(there.cloned().collect());
                }
                Begun::Change(change)
            }
        };
        self.go_on(begun, budget).await
    }

    /// Does a slice. Returns the work if it is not finished.
    async fn go_on(&self, mut begun: Begun, budget: &mut Budget) -> Option<Begun> {
        let is_finished = match &mut begun {
            Begun::Message(_, _, fan) | Begun::Receipt(_, fan) | Begun::Passed(_, fan) => {
                self.fan(fan, budget).await
            }
            Begun::Change(change) => self.tell(change, budget).await,
        };
        if !is_finished {
            return Some(begun);
        }
        match begun {
            Begun::Message(committed, waiting, fan) => {
                let counts = fan.counts();
                let reached = fan.reached.unwrap_or_default();
                self.delivered(&committed, waiting, &fan.frame, (counts, reached));
            }
            Begun::Passed(passed, fan) => self.passed(*passed, fan),
            Begun::Receipt(answer, _) => answer(),
            Begun::Change(change) => (change.answer)(change.changed.team),
        }
        None
    }

    async fn message(&self, committed: Committed, waiting: Waiting, budget: &mut Budget) -> Option<Begun> {
        let (message, stored) = (&*committed.message, Stored::from(&committed.appended));
        if stored.duplicate {
            let offline = usize::from(committed.to().is_some());
            waiting.answer.counts(stored, (0, offline), Reached::default());
            return None;
        }
        self.appended(message.kind);
        let frame = Arc::new(Frame::push(&Envelope {
            kind: message.kind,
            data: &message.data,
            place: Some((stored.mid, stored.conv, stored.seq)),
            from: message.from.as_ref(),
            cid: message.cid.as_ref(),
            ts: stored.ts,
            recalled: false,
        }));
        budget.frame(frame.len()).await;
        let Some(to) = committed.to() else {
            let members = committed.appended.members.clone().unwrap_or_default();
            let fan = Fan::new(frame, members, committed.except);
            let fan = if waiting.answer.wants_names() {
                fan.noting()
            } else {
                fan
            };
            return self.go_on(Begun::Message(committed, waiting, fan), budget).await;
        };
        let is_reached = self.user(to, committed.except, &frame);
        let counts = (usize::from(is_reached), usize::from(!is_reached));
        let reached = match waiting.answer.wants_names() {
            true => Reached::of([is_reached]),
            false => Reached::default(),
        };
        self.delivered(&committed, waiting, &frame, (counts, reached));
        None
    }

    /// Completes a message of another node, or from the record.
    fn passed(&self, passed: Passed, fan: Fan) {
        let Passed {
            also, number, answer, ..
        } = passed;
        if let Some(uid) = also.filter(|uid| fan.to.binary_search(uid).is_err()) {
            match number {
                None => drop(self.user(&uid, None, &fan.frame)),
                Some(number) => self.count(self.reach_earlier(&uid, number, &fan.frame)),
            }
        }
        if let Some(answer) = answer {
            answer(fan.reached.unwrap_or_default());
        }
    }

    /// Completes a message that was delivered before.
    fn told(&self, committed: &Committed, waiting: Waiting) {
        self.appended(committed.message.kind);
        let is_online = |uid: &Uid| self.registry.is_online(uid);
        let reached = match (committed.to(), &committed.appended.members) {
            (Some(to), _) => vec![is_online(to)],
            (None, members) => members.iter().flat_map(|all| all.iter()).map(is_online).collect(),
        };
        let online = reached.iter().filter(|is| **is).count();
        let counts = (online, reached.len() - online);
        self.answer(committed, waiting, (counts, Reached::of(reached)));
    }

    /// Completes a message after all recipients were handled. The counts are of those who were reached and
    /// those who were not.
    fn delivered(
        &self,
        committed: &Committed,
        waiting: Waiting,
        frame: &Arc<Frame>,
        reached: ((usize, usize), Reached),
    ) {
        if let Some(from) = committed.follower() {
            self.user(from, committed.except, frame);
        }
        self.answer(committed, waiting, reached);
    }

    fn answer(&self, committed: &Committed, waiting: Waiting, (counts, reached): ((usize, usize), Reached)) {
        if let (Some(push), Some(_)) = (committed.message.push, committed.appended.push) {
            self.wake.due_in(push.delay_ms);
        }
        self.metrics
            .delivery_seconds
            .observe(clock::now().duration_since(waiting.since).as_secs_f64());
        waiting
            .answer
            .counts(Stored::from(&committed.appended), counts, reached);
    }

    /// Delivers the next slice of a change's notices: a part of one notice, or several notices to few
    /// members. Returns true if all notices are delivered.
    async fn tell(&self, change: &mut Change, budget: &mut Budget) -> bool {
        let team = &change.changed.team;
        let mut left = SLICE;
        while let Some(notice) = change.changed.notices.get(change.told) {
            if left == 0 {
                return false;
            }
            let mut fan = match change.fan.take() {
                Some(fan) => fan,
                None => {
                    self.appended(notice.kind);
                    let frame = Arc::new(Frame::push(&envelope(notice, team.conv)));
                    budget.frame(frame.len()).await;
                    Fan::new(frame, change.there.clone(), None)
                }
            };
            if !self.fan(&mut fan, budget).await {
                change.fan = Some(fan);
                return false;
            }
            if team.members.binary_search(&notice.uid).is_err() {
                self.user(&notice.uid, None, &fan.frame);
            }
            change.told += 1;
            left = left.saturating_sub(change.there.len() + 1);
        }
        true
    }
}

impl Answer {
    /// Whether it must be known which recipients were reached.
    fn wants_names(&self) -> bool {
        matches!(self, Self::Together(_))
    }

    /// Answers with the numbers of recipients here who were reached and who were not, or adds which ones were
    /// reached.
    fn counts(self, stored: Stored, (online, offline): (usize, usize), reached: Reached) {
        match self {
            Self::Here(answer) => answer(Ok(Outcome {
                stored,
                online,
                offline,
            })),
            Self::Together(tally) => tally.here(stored, online + offline, reached),
        }
    }
}

fn envelope(notice: &TeamNotice, conv: ConvId) -> Envelope<'_> {
    Envelope {
        kind: notice.kind,
        data: &notice.data,
        place: Some((notice.mid, conv, notice.seq)),
        from: None,
        cid: None,
        ts: notice.ts,
        recalled: false,
    }
}
