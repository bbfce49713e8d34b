//! Pairs of clients that write to each other: in a closed loop, where each sends its next message once the other has the last one
//! and the server answered, or at a rate.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::Setting;
use crate::chat;
use crate::crowd::{Crowd, Load};
use crate::latency::Latency;
use crate::report::Report;
use crate::run::{Plan, Scenario};
use crate::tally::Tally;

/// The load of one thread: clients 2k and 2k + 1 are a pair.
struct Pairs<'a> {
    tally: Arc<Tally>,
    kind: u16,
    text: &'a str,
    clients: Vec<Sender>,
    schedule: Option<Schedule>,
    latency: Latency,
}

/// What a client waits for.
#[derive(Clone, Default)]
struct Sender {
    /// From when on each message that has not arrived is late.
    underway: VecDeque<u64>,
    count: u64,
    answered: bool,
}

/// When the next message is due, and whose turn it is.
struct Schedule {
    due: u64,
    interval: u64,
    turn: usize,
}

/// Runs the scenario.
pub(crate) fn run(plan: &Plan, setting: &Setting, kind: u16, rate: Option<u32>) -> anyhow::Result<Report> {
    ensure!(
        plan.connections.is_multiple_of(2),
        "the number of connections must be even: clients write in pairs"
    );
    let outcome = plan.run(|crowd, share, tally| {
        // Every thread carries the part of the rate that its part of the clients is.
        let interval =
            rate.map(|rate| 1_000_000_000 * plan.connections as u64 / u64::from(rate) / share.count as u64);
        let mut pairs = Pairs {
            tally: tally.clone(),
            kind,
            text: &setting.text,
            clients: vec![Sender::default(); share.count],
            schedule: interval.map(|interval| Schedule {
                due: crowd.now(),
                interval,
                turn: 0,
            }),
            latency: Latency::default(),
        };
        if pairs.schedule.is_none() {
            (0..share.count).for_each(|client| pairs.send(crowd, client, crowd.now()));
        }
        Ok(pairs)
    })?;
    let mut report = Report::new("one-to-one", plan.connections, &outcome);
    report.rate(
        ["messages_per_second", "messages_per_cpu_second"],
        outcome.counts.delivered,
        &outcome.measured,
    );
    if rate.is_some() {
        report.add(
            "sent_per_second",
            outcome.counts.sent as f64 / outcome.measured.time.as_secs_f64(),
            "/s",
        );
    }
    report.latency(&outcome.latency);
    report.costs(&outcome);
    Ok(report)
}

impl Pairs<'_> {
    fn send(&mut self, crowd: &mut Crowd<'_>, client: usize, due: u64) {
        let sender = &mut self.clients[client];
        sender.underway.push_back(due);
        sender.count += 1;
        sender.answered = false;
        let cid = crowd.cid(sender.count);
        let to = json!({"user": crowd.uid(client ^ 1)});
        crowd.say(client, &chat::send(self.kind, &to, &cid, self.text));
        Tally::count(&self.tally.sent);
    }

    fn next(&mut self, crowd: &mut Crowd<'_>, client: usize) {
        let sender = &self.clients[client];
        if self.schedule.is_none() && sender.answered && sender.underway.is_empty() {
            self.send(crowd, client, crowd.now());
        }
    }
}

impl Load for Pairs<'_> {
    fn event(&mut self, crowd: &mut Crowd<'_>, to: usize, packet: &[u8]) {
        match chat::kind(packet) {
            Some(chat::SENT) => {
                if chat::succeeded(packet) {
                    Tally::count(&self.tally.answered);
                } else {
                    Tally::count(&self.tally.refused);
                    self.clients[to].underway.pop_back();
                }
                self.clients[to].answered = true;
                self.next(crowd, to);
            }
            Some(kind) if kind == self.kind => {
                let from = to ^ 1;
                Tally::count(&self.tally.delivered);
                if let Some(due) = self.clients[from].underway.pop_front()
                    && self.tally.measuring()
                {
                    self.latency.record(crowd.now().saturating_sub(due));
                }
                self.next(crowd, from);
            }
            _ => {}
        }
    }

    fn turn(&mut self, crowd: &mut Crowd<'_>) {
        let now = crowd.now();
        while let Some(Schedule { due, interval, turn }) = &mut self.schedule
            && *due <= now
        {
            let (at, client) = (*due, *turn);
            *due += *interval;
            *turn = (client + 1) % self.clients.len();
            self.send(crowd, client, at);
        }
    }

    /// A wait is counted in whole milliseconds: for less than that the thread goes round without one.
    fn patience(&self, crowd: &Crowd<'_>) -> Duration {
        let left = self
            .schedule
            .as_ref()
            .map_or(20_000_000, |schedule| schedule.due.saturating_sub(crowd.now()));
        Duration::from_millis((left / 1_000_000).min(20))
    }
}

impl Scenario for Pairs<'_> {
    fn latency(&self) -> Option<&Latency> {
        Some(&self.latency)
    }
}
