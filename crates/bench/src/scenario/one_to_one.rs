//! Pairs of clients that write to each other: each sends its next message once the other has the last one and the server answered.
use std::sync::Arc;

use anyhow::ensure;
use serde_json::json;

use super::Setting;
use crate::crowd::{Crowd, Load};
use crate::latency::Latency;
use crate::report::Report;
use crate::run::{Plan, Scenario};
use crate::tally::Tally;
use crate::{chat, frame};

/// The load of one thread: clients 2k and 2k + 1 are a pair.
struct Pairs<'a> {
    tally: Arc<Tally>,
    kind: u16,
    text: &'a str,
    clients: Vec<Sender>,
    latency: Latency,
}

/// What a client waits for.
#[derive(Clone, Default)]
struct Sender {
    sent_at: u64,
    count: u64,
    arrived: bool,
    answered: bool,
}

/// Runs the scenario.
pub(crate) fn run(plan: &Plan, setting: &Setting, kind: u16) -> anyhow::Result<Report> {
    ensure!(
        plan.connections % 2 == 0,
        "the number of connections must be even: clients write in pairs"
    );
    let outcome = plan.run(|crowd, share, tally| {
        let mut pairs = Pairs {
            tally: tally.clone(),
            kind,
            text: &setting.text,
            clients: vec![Sender::default(); share.count],
            latency: Latency::default(),
        };
        (0..share.count).for_each(|client| pairs.send(crowd, client));
        Ok(pairs)
    })?;
    let mut report = Report::new("one-to-one", plan.connections, &outcome);
    report.rate(
        ["messages_per_second", "messages_per_cpu_second"],
        outcome.counts.delivered,
        &outcome.measured,
    );
    report.latency(&outcome);
    report.costs(&outcome);
    Ok(report)
}

impl Pairs<'_> {
    fn send(&mut self, crowd: &mut Crowd<'_>, client: usize) {
        let sender = &mut self.clients[client];
        *sender = Sender {
            sent_at: crowd.now(),
            count: sender.count + 1,
            ..Sender::default()
        };
        let cid = crowd.cid(sender.count);
        let to = json!({"user": crowd.uid(client ^ 1)});
        crowd.send(client, &frame::text(&chat::send(self.kind, &to, &cid, self.text)));
        Tally::count(&self.tally.sent);
    }

    fn next(&mut self, crowd: &mut Crowd<'_>, client: usize) {
        if self.clients[client].arrived && self.clients[client].answered {
            self.send(crowd, client);
        }
    }
}

impl Load for Pairs<'_> {
    fn event(&mut self, crowd: &mut Crowd<'_>, to: usize, packet: &[u8]) {
        match chat::kind(packet) {
            Some(chat::SENT) if chat::succeeded(packet) => {
                Tally::count(&self.tally.answered);
                self.clients[to].answered = true;
                self.next(crowd, to);
            }
            Some(chat::SENT) => {
                Tally::count(&self.tally.refused);
                self.send(crowd, to);
            }
            Some(kind) if kind == self.kind => {
                let from = to ^ 1;
                Tally::count(&self.tally.delivered);
                if self.tally.measuring() {
                    self.latency.record(crowd.now() - self.clients[from].sent_at);
                }
                self.clients[from].arrived = true;
                self.next(crowd, from);
            }
            _ => {}
        }
    }
}

impl Scenario for Pairs<'_> {
    fn latency(&self) -> Option<&Latency> {
        Some(&self.latency)
    }
}
