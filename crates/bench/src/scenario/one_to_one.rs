//! Pairs of clients that send to each other: in a closed loop, where a client sends its next message once the
//! other has received the last one and the server has responded, or at a fixed rate.

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
use crate::run::{Parameters, Scenario, Share};
use crate::tally::Tally;

/// The options of the scenario.
pub(crate) struct Options {
    /// The kind of the messages.
    pub(crate) kind: u16,
    /// Messages per second, of all clients together; by default a closed loop.
    pub(crate) rate: Option<u32>,
    /// The number of clients that send; by default all.
    pub(crate) active: Option<usize>,
}

/// The load of one thread. Clients 2k and 2k + 1 are a pair.
struct Pairs<'a> {
    tally: Arc<Tally>,
    kind: u16,
    text: &'a str,
    clients: Vec<Sender>,
    /// The clients that send.
    active: Vec<usize>,
    schedule: Option<Schedule>,
    latency: Latency,
}

/// The messages and the response that a client waits for.
#[derive(Clone, Default)]
struct Sender {
    /// The time of each message in flight, from which its latency counts.
    underway: VecDeque<u64>,
    count: u64,
    answered: bool,
}

/// When the next message is due. `turn` is the index of its sender in [`Pairs::active`].
struct Schedule {
    due: u64,
    interval: u64,
    turn: usize,
}

/// Runs the scenario.
pub(crate) fn run(plan: &Parameters, setting: &Setting, options: &Options) -> anyhow::Result<Report> {
    let &Options { kind, rate, active } = options;
    let all = plan.connections;
    let active = active.unwrap_or(all);
    ensure!(
        all.is_multiple_of(2) && active.is_multiple_of(2),
        "-n and --active must be even: clients send in pairs"
    );
    ensure!(
        active <= all,
        "--active {active} is more than the {all} connections"
    );
    let outcome = plan.run(|crowd, share, tally| {
        let active_here = active_of(share, active, all);
        // Each thread carries a share of the rate, according to its share of the active clients.
        let interval = rate
            .filter(|_| !active_here.is_empty())
            .map(|rate| 1_000_000_000 * active as u64 / u64::from(rate) / active_here.len() as u64);
        let mut pairs = Pairs {
            tally: tally.clone(),
            kind,
            text: &setting.text,
            clients: vec![Sender::default(); share.count],
            active: active_here,
            schedule: interval.map(|interval| Schedule {
                due: crowd.now(),
                interval,
                turn: 0,
            }),
            latency: Latency::default(),
        };
        if rate.is_none() {
            for at in 0..pairs.active.len() {
                pairs.send(crowd, pairs.active[at], crowd.now());
            }
        }
        Ok(pairs)
    })?;
    let mut report = Report::new("one-to-one", all, &outcome);
    report.add("active", active as f64, "");
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

/// The clients of a thread that send if `active` of `all` do: pairs, evenly spread, with inactive clients
/// between them.
fn active_of(share: Share, active: usize, all: usize) -> Vec<usize> {
    (0..active / 2)
        .map(|pair| pair * all / active * 2)
        .filter(|first| (share.first..share.first + share.count).contains(first))
        .flat_map(|first| [first - share.first, first - share.first + 1])
        .collect()
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
            let (at, client) = (*due, self.active[*turn]);
            *due += *interval;
            *turn = (*turn + 1) % self.active.len();
            self.send(crowd, client, at);
        }
    }

    /// A wait has whole milliseconds. If less remains, the thread polls without waiting.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_clients_are_evenly_spread_pairs() {
        let of = |first, count, active, all| active_of(Share { first, count }, active, all);
        assert_eq!(of(0, 6, 6, 6), [0, 1, 2, 3, 4, 5]);
        assert_eq!(of(0, 20, 4, 20), [0, 1, 10, 11]);
        assert_eq!(of(10, 10, 4, 20), [0, 1]);
        assert_eq!(of(2, 8, 4, 20), [0; 0]);
        for (active, all) in [(100, 19_000), (6, 10), (98, 100), (2, 2)] {
            let mut found = of(0, all, active, all);
            found.dedup();
            assert_eq!(found.len(), active, "{active} of {all}");
            assert!(found.iter().all(|client| *client < all));
        }
    }
}
