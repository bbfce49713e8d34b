//! Clients in groups, each with a fixed number of messages in flight to all of the group: the load of
//! `fanout` and `slow`.
//!
//! Deliveries are counted per group. A message is complete when every listener of the group has received one
//! more. A group belongs to one thread, unless it is the only group: then all threads count for it, and the
//! first thread sends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use super::Setting;
use crate::args::Audience;
use crate::crowd::{Crowd, Load};
use crate::latency::Latency;
use crate::run::{Parameters, Scenario, Share};
use crate::tally::Tally;
use crate::{api, chat};

/// The groups of a run, shared by all threads.
pub(crate) struct Groups {
    /// The recipients of the messages.
    to: Audience,
    /// The kind of the messages.
    kind: u16,
    /// The number of messages in flight in each group.
    in_flight: usize,
    /// The number of clients of a group.
    size: usize,
    /// The first clients of each group listen and may send; this is their number.
    listeners: usize,
    /// The start of the teams' keys.
    teams: String,
    /// The number of deliveries to each group.
    arrived: Box<[AtomicU64]>,
    /// While this is set, no message is sent.
    pub(crate) paused: AtomicBool,
}

impl Groups {
    /// Groups of `size` clients, of which the first `listeners` listen.
    pub(crate) fn new(
        plan: &Parameters,
        (to, kind): (Audience, Option<u16>),
        in_flight: usize,
        (size, listeners): (usize, usize),
        teams: String,
    ) -> Self {
        let kind = kind.unwrap_or(match to {
            Audience::Everyone => 6,
            Audience::Team => 15,
        });
        Self {
            to,
            kind,
            in_flight,
            size,
            listeners,
            teams,
            arrived: (0..plan.connections / size).map(|_| AtomicU64::new(0)).collect(),
            paused: AtomicBool::new(false),
        }
    }

    /// The number of groups.
    pub(crate) fn count(&self) -> usize {
        self.arrived.len()
    }

    /// The clients of a group.
    pub(crate) fn clients(&self, group: usize) -> std::ops::Range<usize> {
        group * self.size..(group + 1) * self.size
    }

    /// The key of a group's team.
    pub(crate) fn team(&self, group: usize) -> String {
        match self.count() {
            1 => self.teams.clone(),
            _ => format!("{}-{group}", self.teams),
        }
    }

    /// The number of deliveries of one message. Its sender gets none.
    fn deliveries(&self) -> u64 {
        self.listeners as u64 - u64::from(self.to == Audience::Team)
    }
}

/// The load of one thread.
pub(crate) struct Listeners<'a> {
    tally: Arc<Tally>,
    groups: &'a Groups,
    /// The number of the thread's first client.
    first: usize,
    /// The groups of the thread.
    parts: Vec<Part<'a>>,
    /// The indexes of the parts that have changed in this batch of events.
    touched: Vec<usize>,
    latency: Latency,
}

/// A thread's part of a group.
struct Part<'a> {
    /// Deliveries of this batch of events that have not been added to the group's.
    fresh: u64,
    touched: bool,
    sender: Option<Sender<'a>>,
}

/// The source of a group's messages.
struct Sender<'a> {
    by: SendBy<'a>,
    /// When the messages in flight were sent, oldest first.
    sent_at: VecDeque<u64>,
    /// The number of messages that have reached all listeners.
    complete: u64,
    count: u64,
}

/// How messages are sent.
enum SendBy<'a> {
    /// By calls of the HTTP API, on connections that are not in use.
    Call { request: Vec<u8>, free: Vec<usize> },
    /// By the team's members in turn: `members` clients, starting with the thread's client `from`.
    Member {
        team: String,
        from: usize,
        members: usize,
        text: &'a str,
    },
}

impl<'a> Listeners<'a> {
    /// The load of the thread with this share.
    pub(crate) fn new(
        crowd: &mut Crowd<'_>,
        (plan, setting): (&Parameters, &'a Setting),
        share: Share,
        tally: &Arc<Tally>,
        groups: &'a Groups,
    ) -> anyhow::Result<Self> {
        let numbers = share.first / groups.size..(share.first + share.count).div_ceil(groups.size);
        let mut parts = Vec::with_capacity(numbers.len());
        for group in numbers {
            let from = group * groups.size;
            let sender = if from >= share.first {
                let by = match groups.to {
                    Audience::Everyone => SendBy::calls(crowd, plan, setting, groups)?,
                    Audience::Team => SendBy::Member {
                        team: groups.team(group),
                        from: from - share.first,
                        members: groups.listeners.min(share.count),
                        text: &setting.text,
                    },
                };
                Some(Sender {
                    by,
                    sent_at: VecDeque::new(),
                    complete: 0,
                    count: 0,
                })
            } else {
                None
            };
            parts.push(Part {
                fresh: 0,
                touched: true,
                sender,
            });
        }
        if groups.count() == 1 && share.first == 0 {
            // Only the first thread reaches this, so the waker is not set yet.
            tally.sender.set(crowd.waker()?).ok();
        }
        Ok(Self {
            tally: tally.clone(),
            groups,
            first: share.first,
            touched: (0..parts.len()).collect(),
            parts,
            latency: Latency::default(),
        })
    }

    /// The part of a client of this thread. It is handled at the end of the batch.
    fn touch(&mut self, client: usize) -> &mut Part<'a> {
        let at = (self.first + client) / self.groups.size - self.first / self.groups.size;
        let part = &mut self.parts[at];
        if !part.touched {
            part.touched = true;
            self.touched.push(at);
        }
        part
    }

    /// Counts the deliveries of a group, and sends messages if there is room for more in flight.
    fn settle(&mut self, crowd: &mut Crowd<'_>, at: usize) {
        let groups = self.groups;
        let group = self.first / groups.size + at;
        let part = &mut self.parts[at];
        part.touched = false;
        let fresh = std::mem::take(&mut part.fresh);
        self.tally.delivered.fetch_add(fresh, Ordering::Relaxed);
        let arrived = groups.arrived[group].fetch_add(fresh, Ordering::Relaxed) + fresh;
        let complete = arrived / groups.deliveries();
        let Some(sender) = &mut part.sender else {
            if complete > (arrived - fresh) / groups.deliveries()
                && let Some(waker) = self.tally.sender.get()
            {
                waker.wake().ok();
            }
            return;
        };
        let now = crowd.now();
        for _ in sender.complete..complete {
            if let Some(at) = sender.sent_at.pop_front()
                && self.tally.measuring()
            {
                self.latency.record(now - at);
            }
        }
        sender.complete = complete;
        if !groups.paused.load(Ordering::Relaxed) {
            sender.send(crowd, groups, &self.tally);
        }
    }
}

impl SendBy<'_> {
    fn calls(
        crowd: &mut Crowd<'_>,
        plan: &Parameters,
        setting: &Setting,
        groups: &Groups,
    ) -> anyhow::Result<Self> {
        let free = (0..groups.in_flight)
            .map(|_| crowd.dial_api())
            .collect::<anyhow::Result<_>>()?;
        let body = json!({"type": groups.kind, "to": {"everyone": true}, "data": {"text": setting.text}});
        Ok(Self::Call {
            request: api::request(
                plan.target(),
                &setting.api_key,
                "POST",
                "/v1/messages",
                &body.to_string(),
            ),
            free,
        })
    }
}

impl Sender<'_> {
    /// Sends messages until the allowed number is in flight.
    fn send(&mut self, crowd: &mut Crowd<'_>, groups: &Groups, tally: &Tally) {
        while self.sent_at.len() < groups.in_flight {
            self.count += 1;
            match &mut self.by {
                SendBy::Call { request, free } => {
                    let Some(on) = free.pop() else { return };
                    crowd.call(on, request);
                }
                SendBy::Member {
                    team,
                    from,
                    members,
                    text,
                } => {
                    let cid = crowd.cid(self.count);
                    let packet = chat::send(groups.kind, &json!({"team": team}), &cid, text);
                    crowd.say(*from + self.count as usize % *members, &packet);
                }
            }
            self.sent_at.push_back(crowd.now());
            Tally::count(&tally.sent);
        }
    }
}

impl Load for Listeners<'_> {
    fn event(&mut self, _crowd: &mut Crowd<'_>, to: usize, packet: &[u8]) {
        match chat::kind(packet) {
            Some(kind) if kind == self.groups.kind => self.touch(to).fresh += 1,
            Some(chat::SENT) if chat::succeeded(packet) => Tally::count(&self.tally.answered),
            Some(chat::SENT) => {
                Tally::count(&self.tally.refused);
                // This message will not be delivered: another one may be sent instead.
                if let Some(sender) = &mut self.touch(to).sender {
                    sender.sent_at.pop_back();
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, _crowd: &mut Crowd<'_>, on: usize, status: u16) {
        let part = &mut self.parts[0];
        if let Some(Sender { by, sent_at, .. }) = &mut part.sender {
            if let SendBy::Call { free, .. } = by {
                free.push(on);
            }
            if status != 200 {
                sent_at.pop_back();
            }
        }
        Tally::count(if status == 200 {
            &self.tally.answered
        } else {
            &self.tally.refused
        });
    }

    fn turn(&mut self, crowd: &mut Crowd<'_>) {
        if self.groups.count() == 1 {
            // Another thread may have counted the missing deliveries.
            self.touched.clear();
            return self.settle(crowd, 0);
        }
        let mut touched = std::mem::take(&mut self.touched);
        touched.drain(..).for_each(|at| self.settle(crowd, at));
        self.touched = touched;
    }
}

impl Scenario for Listeners<'_> {
    fn latency(&self) -> Option<&Latency> {
        Some(&self.latency)
    }
}
