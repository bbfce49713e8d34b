//! Clients that send a stored message, wait for the response, and send the next.
use std::sync::Arc;

use serde_json::json;

use super::Setting;
use crate::args::Reader;
use crate::chat;
use crate::crowd::{Crowd, Load};
use crate::latency::Latency;
use crate::report::Report;
use crate::run::{Parameters, Scenario, Share};
use crate::tally::Tally;

/// The load of one thread.
struct Senders<'a> {
    tally: Arc<Tally>,
    setting: &'a Setting,
    kind: u16,
    to: Reader,
    share: Share,
    sent: Vec<(u64, u64)>,
    latency: Latency,
}

/// Runs the scenario.
pub(crate) fn run(plan: &Parameters, setting: &Setting, to: Reader, kind: u16) -> anyhow::Result<Report> {
    let outcome = plan.run(|crowd, share, tally| {
        let sent = vec![(0, 0); share.count];
        let mut senders = Senders {
            tally: tally.clone(),
            setting,
            kind,
            to,
            share,
            sent,
            latency: Latency::default(),
        };
        (0..share.count).for_each(|client| senders.send(crowd, client));
        Ok(senders)
    })?;
    let mut report = Report::new("durable", plan.connections, &outcome);
    report.rate(
        ["sends_per_second", "sends_per_cpu_second"],
        outcome.counts.answered,
        &outcome.measured,
    );
    report.rate(
        ["deliveries_per_second", "deliveries_per_cpu_second"],
        outcome.counts.delivered,
        &outcome.measured,
    );
    report.latency(&outcome.latency);
    report.costs(&outcome);
    Ok(report)
}

impl Senders<'_> {
    fn send(&mut self, crowd: &mut Crowd<'_>, client: usize) {
        let (at, count) = &mut self.sent[client];
        (*at, *count) = (crowd.now(), *count + 1);
        let to = match self.to {
            Reader::Online => crowd.uid((client + 1) % self.share.count),
            Reader::Away => format!("{}-away", crowd.uid(client)),
        };
        let packet = chat::send(
            self.kind,
            &json!({"user": to}),
            &crowd.cid(*count),
            &self.setting.text,
        );
        crowd.say(client, &packet);
        Tally::count(&self.tally.sent);
    }
}

impl Load for Senders<'_> {
    fn event(&mut self, crowd: &mut Crowd<'_>, to: usize, packet: &[u8]) {
        match chat::kind(packet) {
            Some(chat::SENT) => {
                if chat::succeeded(packet) {
                    Tally::count(&self.tally.answered);
                    if self.tally.measuring() {
                        self.latency.record(crowd.now() - self.sent[to].0);
                    }
                } else {
                    Tally::count(&self.tally.refused);
                }
                self.send(crowd, to);
            }
            Some(kind) if kind == self.kind => Tally::count(&self.tally.delivered),
            _ => {}
        }
    }
}

impl Scenario for Senders<'_> {
    fn latency(&self) -> Option<&Latency> {
        Some(&self.latency)
    }
}
