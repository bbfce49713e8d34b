//! Messages to everyone, or to a team of all clients, a fixed number of them on their way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::ensure;
use serde_json::json;

use super::Setting;
use crate::args::Audience;
use crate::crowd::{Crowd, Load};
use crate::latency::Latency;
use crate::net::Target;
use crate::report::Report;
use crate::run::{Plan, Scenario};
use crate::tally::Tally;
use crate::{api, chat};

/// The load of one thread: all count deliveries, the first also sends.
struct Listeners<'a> {
    tally: Arc<Tally>,
    kind: u16,
    /// Deliveries of this batch of events, not yet added to the tally.
    fresh: u64,
    /// Deliveries that a message makes.
    reach: u64,
    sender: Option<Sender<'a>>,
    latency: Latency,
}

/// Where the messages come from.
struct Sender<'a> {
    in_flight: usize,
    way: Way<'a>,
    /// When those on their way were sent, oldest first.
    sent_at: VecDeque<u64>,
    /// Messages that reached all.
    complete: u64,
    count: u64,
}

/// How messages are sent.
enum Way<'a> {
    /// By call, on connections that are free.
    Call { request: Vec<u8>, free: Vec<usize> },
    /// By the team's members in turn.
    Member {
        team: &'a str,
        members: usize,
        text: &'a str,
    },
}

/// Runs the scenario.
pub(crate) fn run(
    plan: &Plan,
    setting: &Setting,
    to: Audience,
    in_flight: usize,
    kind: Option<u16>,
) -> anyhow::Result<Report> {
    let kind = kind.unwrap_or(match to {
        Audience::Everyone => 6,
        Audience::Team => 15,
    });
    let team = format!("{}-team", plan.prefix);
    if to == Audience::Team {
        ensure!(plan.connections > 1, "a team needs more than one connection");
        let members: Vec<_> = (0..plan.connections)
            .map(|client| format!("{}-{client}", plan.prefix))
            .collect();
        let body = json!({"name": "bench", "members": members});
        api::call(
            &plan.target,
            &setting.api_key,
            "PUT",
            &format!("/v1/teams/{team}"),
            &body,
        )?;
    }
    let outcome = plan.run(|crowd, share, tally| {
        let reach = plan.connections as u64 - u64::from(to == Audience::Team);
        let mut listeners = Listeners {
            tally: tally.clone(),
            kind,
            fresh: 0,
            reach,
            sender: None,
            latency: Latency::default(),
        };
        if share.first == 0 {
            let way = match to {
                Audience::Everyone => Way::calls(crowd, &plan.target, setting, kind, in_flight)?,
                Audience::Team => Way::Member {
                    team: &team,
                    members: share.count,
                    text: &setting.text,
                },
            };
            // Only the first thread comes here: nobody else has set the waker.
            tally.sender.set(crowd.waker()?).ok();
            listeners.sender = Some(Sender {
                in_flight,
                way,
                sent_at: VecDeque::new(),
                complete: 0,
                count: 0,
            });
        }
        Ok(listeners)
    })?;
    let mut report = Report::new("fanout", plan.connections, &outcome);
    report.add("in_flight", in_flight as f64, "");
    report.rate(
        ["deliveries_per_second", "deliveries_per_cpu_second"],
        outcome.counts.delivered,
        &outcome.measured,
    );
    report.rate(
        ["messages_per_second", "messages_per_cpu_second"],
        outcome.counts.answered,
        &outcome.measured,
    );
    report.latency(&outcome.latency);
    report.costs(&outcome);
    Ok(report)
}

impl Way<'_> {
    fn calls(
        crowd: &mut Crowd<'_>,
        target: &Target,
        setting: &Setting,
        kind: u16,
        in_flight: usize,
    ) -> anyhow::Result<Self> {
        let free = (0..in_flight)
            .map(|_| crowd.dial_api())
            .collect::<anyhow::Result<_>>()?;
        let body =
            json!({"type": kind, "to": {"everyone": true}, "data": {"text": setting.text}}).to_string();
        Ok(Self::Call {
            request: api::request(target, &setting.api_key, "POST", "/v1/messages", &body),
            free,
        })
    }
}

impl Sender<'_> {
    /// Sends as many messages as may be on their way.
    fn send(&mut self, crowd: &mut Crowd<'_>, kind: u16, tally: &Tally) {
        while self.sent_at.len() < self.in_flight {
            self.count += 1;
            match &mut self.way {
                Way::Call { request, free } => {
                    let Some(on) = free.pop() else { return };
                    crowd.call(on, request);
                }
                Way::Member { team, members, text } => {
                    let cid = crowd.cid(self.count);
                    let packet = chat::send(kind, &json!({"team": team}), &cid, text);
                    crowd.say(self.count as usize % *members, &packet);
                }
            }
            self.sent_at.push_back(crowd.now());
            Tally::count(&tally.sent);
        }
    }
}

impl Load for Listeners<'_> {
    fn event(&mut self, _crowd: &mut Crowd<'_>, _to: usize, packet: &[u8]) {
        match chat::kind(packet) {
            Some(kind) if kind == self.kind => self.fresh += 1,
            Some(chat::SENT) if chat::succeeded(packet) => Tally::count(&self.tally.answered),
            Some(chat::SENT) => Tally::count(&self.tally.refused),
            _ => {}
        }
    }

    fn answer(&mut self, _crowd: &mut Crowd<'_>, on: usize, status: u16) {
        if let Some(Sender {
            way: Way::Call { free, .. },
            ..
        }) = &mut self.sender
        {
            free.push(on);
        }
        Tally::count(if status == 200 {
            &self.tally.answered
        } else {
            &self.tally.refused
        });
    }

    fn turn(&mut self, crowd: &mut Crowd<'_>) {
        let fresh = std::mem::take(&mut self.fresh);
        let delivered = self.tally.delivered.fetch_add(fresh, Ordering::Relaxed) + fresh;
        let complete = delivered / self.reach;
        let Some(sender) = &mut self.sender else {
            if complete > (delivered - fresh) / self.reach
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
        sender.send(crowd, self.kind, &self.tally);
    }
}

impl Scenario for Listeners<'_> {
    fn latency(&self) -> Option<&Latency> {
        Some(&self.latency)
    }
}
