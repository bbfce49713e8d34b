//! The order in which a delivery task does its work.
//!
//! The task works in slices of [`SLICE`](super::SLICE) recipients. Work that takes more than one slice waits
//! in the lane of its conversation, and later work of that conversation waits behind it. The lanes and new
//! work take turns, so that a message to a large team does not delay other conversations. Invariant: within a
//! conversation the order is that of the commits, however many slices a message takes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Budget, Committed, CommittedChange, Fan, Fanout, Outcome, Receipt, SLICE, Work};
use crate::clock;
use crate::frame::{Envelope, Frame};
use crate::ids::ConvId;
use crate::order::Stored;
use crate::store::{Members, TeamNotice};

/// Work that was begun and takes more than a slice.
enum Begun {
    Message(Committed, Fan),
    Receipt(Box<Receipt>, Fan),
    Change(Box<ChangeBegun>),
}

/// A change whose notices are being delivered.
struct ChangeBegun {
    change: CommittedChange,
    /// Members who receive all of the notices.
    there: Members,
    /// The number of notices that were delivered.
    told: usize,
    /// The next notice, if its delivery was begun.
    fan: Option<Fan>,
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
    pub(super) async fn run(self, mut work: mpsc::Receiver<Work>) {
        let mut budget = Budget::default();
        let mut lanes = Lanes::default();
        loop {
            // One new item, then one slice of a waiting conversation, and so on.
            let came = match lanes.turns.is_empty() {
                true => match work.recv().await {
                    Some(came) => Some(came),
                    None => return,
                },
                false => work.try_recv().ok(),
            };
            if let Some(came) = came {
                self.take(came, &mut lanes, &mut budget).await;
            }
            if !lanes.turns.is_empty() {
                self.slice(&mut lanes, &mut budget).await;
            }
        }
    }

    /// Begins new work, unless older work of its conversation is unfinished.
    async fn take(&self, work: Work, lanes: &mut Lanes, budget: &mut Budget) {
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
        match work {
            Work::Message(message) => self.message(message, budget).await,
            Work::Receipt(receipt) => {
                let fan = Fan::of(receipt.frame.clone());
                self.go_on(Begun::Receipt(receipt, fan), budget).await
            }
            Work::Change(change) => {
                let begun = Box::new(self.change(*change));
                self.go_on(Begun::Change(begun), budget).await
            }
        }
    }

    /// Does a slice. Returns the work if it is not finished.
    async fn go_on(&self, begun: Begun, budget: &mut Budget) -> Option<Begun> {
        match begun {
            Begun::Message(committed, mut fan) => {
                let members = committed.appended.members.as_deref();
                let members = members.map_or(&[][..], Vec::as_slice);
                if !self
                    .fan(members, committed.origin.as_ref(), &mut fan, budget)
                    .await
                {
                    return Some(Begun::Message(committed, fan));
                }
                let reached = (fan.online, members.len() - fan.online);
                self.delivered(committed, &fan.frame, reached);
                None
            }
            Begun::Receipt(receipt, mut fan) => {
                if !self
                    .fan(&receipt.to, Some(&receipt.origin), &mut fan, budget)
                    .await
                {
                    return Some(Begun::Receipt(receipt, fan));
                }
                (receipt.answer)();
                drop(receipt.permit);
                None
            }
            Begun::Change(mut begun) => {
                if self.tell(&mut begun, budget).await {
                    let CommittedChange {
                        changed,
                        answer,
                        permit,
                    } = begun.change;
                    answer(changed);
                    drop(permit);
                    return None;
                }
                Some(Begun::Change(begun))
            }
        }
    }

    async fn message(&self, committed: Committed, budget: &mut Budget) -> Option<Begun> {
        let (message, stored) = (&*committed.message, Stored::from(&committed.appended));
        if stored.duplicate {
            let offline = usize::from(committed.to().is_some());
            (committed.answer)(Ok(Outcome {
                stored,
                online: 0,
                offline,
            }));
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
        let reached = match (committed.to(), &committed.appended.members) {
            (Some(to), _) => {
                let reached = self.user(to, committed.origin.as_ref(), &frame);
                (usize::from(reached), usize::from(!reached))
            }
            (None, Some(_)) => {
                return self
                    .go_on(Begun::Message(committed, Fan::of(frame)), budget)
                    .await;
            }
            (None, None) => (0, 0),
        };
        self.delivered(committed, &frame, reached);
        None
    }

    /// Completes a message after all recipients were handled. `online` and `offline` count those who were
    /// reached and those who were not.
    fn delivered(&self, committed: Committed, frame: &Arc<Frame>, (online, offline): (usize, usize)) {
        if let Some(from) = committed.follower() {
            self.user(from, committed.origin.as_ref(), frame);
        }
        if let (Some(push), Some(_)) = (committed.message.push, committed.appended.push) {
            self.wake.due_in(push.delay_ms);
        }
        self.metrics
            .delivery_seconds
            .observe(clock::now().duration_since(committed.at).as_secs_f64());
        (committed.answer)(Ok(Outcome {
            stored: Stored::from(&committed.appended),
            online,
            offline,
        }));
        drop(committed.permit);
    }

    fn change(&self, change: CommittedChange) -> ChangeBegun {
        let members = &change.changed.team.members;
        // The connected members are looked up once for all notices: replacing many members makes many notices
        // to many members.
        let there: Members = match change.changed.notices.len() {
            0 | 1 => members.clone(),
            _ => {
                let there = members.iter().filter(|uid| self.registry.is_online(uid));
                Arc::new(there.cloned().collect())
            }
        };
        ChangeBegun {
            change,
            there,
            told: 0,
            fan: None,
        }
    }

    /// Delivers the next slice of a change's notices: a part of one notice, or several notices to few
    /// members. Returns true if all notices are delivered.
    async fn tell(&self, begun: &mut ChangeBegun, budget: &mut Budget) -> bool {
        let team = &begun.change.changed.team;
        let mut left = SLICE;
        while let Some(notice) = begun.change.changed.notices.get(begun.told) {
            if left == 0 {
                return false;
            }
            let mut fan = match begun.fan.take() {
                Some(fan) => fan,
                None => {
                    self.appended(notice.kind);
                    let frame = Arc::new(Frame::push(&envelope(notice, team.conv)));
                    budget.frame(frame.len()).await;
                    Fan::of(frame)
                }
            };
            if !self.fan(&begun.there, None, &mut fan, budget).await {
                begun.fan = Some(fan);
                return false;
            }
            if team.members.binary_search(&notice.uid).is_err() {
                self.user(&notice.uid, None, &fan.frame);
            }
            begun.told += 1;
            left = left.saturating_sub(begun.there.len() + 1);
        }
        true
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
