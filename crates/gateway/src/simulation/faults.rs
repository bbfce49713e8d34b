//! The faults that happen in a run.

use super::hub::Event;
use super::world::World;
use crate::store::embedded::stepped::Trouble;

/// Largest error of the time of day while the server runs, in milliseconds. It is longer than any push job
/// lives.
const MOST_SKEW: i64 = 48 * 3_600_000;
/// Largest error when the server starts, in milliseconds: the deadlines of its previous process are measured
/// with it.
pub(super) const MOST_AT_START: i64 = 3_600_000;

#[derive(Clone, Copy)]
enum Fault {
    Crash,
    Break,
    SlowReader,
    SlowDisk,
    Disk(Trouble),
    Refused,
    Clock,
    Redis,
    Stop,
}

impl World {
    pub(super) fn fault(&mut self) {
        let hub = self.hub.clone();
        if hub.lock().quiet {
            return;
        }
        let gap = hub.roll(self.scenario.fault_gap);
        hub.after(gap, Event::Fault);
        let (fault, lines) = {
            let mut state = hub.lock();
            let lines = state.pipes.open();
            let mut faults = vec![
                (10, Fault::Crash),
                (35, Fault::Break),
                (12, Fault::SlowReader),
                (6, Fault::SlowDisk),
                (5, Fault::Disk(Trouble::Full)),
                (5, Fault::Disk(Trouble::Broken)),
                (10, Fault::Refused),
                (10, Fault::Clock),
            ];
            if self.nodes.is_some() {
                faults.extend([(25, Fault::Redis), (6, Fault::Stop)]);
            }
            let fault = state.dice.weighted(&faults);
            (fault, lines)
        };
        match fault {
            Fault::Crash => {
                let silently = hub.percent(30);
                if let Some(node) = self.some_node() {
                    self.crash(node, silently);
                }
            }
            Fault::Break if !lines.is_empty() => {
                let line = *hub.lock().dice.pick(&lines);
                let (client, server) = (hub.percent(60), hub.percent(40));
                hub.note(format!("line {line} breaks"));
                hub.break_line(line, client, server);
            }
            Fault::SlowReader if !lines.is_empty() => {
                let line = *hub.lock().dice.pick(&lines);
                let pace = *hub.lock().dice.pick(&[(50, 200), (500, 3_000)]);
                hub.note(format!("line {line} is read slowly"));
                hub.pipe(line, |pipe| pipe.quality.pace = pace);
            }
            Fault::Break | Fault::SlowReader => {}
            Fault::SlowDisk => {
                hub.note("the disk is slow");
                hub.lock().disk = (50, 1_000);
                self.recover_later();
            }
            Fault::Disk(trouble) => {
                hub.note(format!("the disk: {trouble:?}"));
                if let Some(record) = &self.record {
                    record.stepper.trouble(Some(trouble));
                }
                self.recover_later();
            }
            Fault::Refused => {
                hub.note("notifications are refused");
                let refusing = hub.roll((20, 100));
                hub.lock().refusing = refusing;
                self.recover_later();
            }
            Fault::Redis => {
                if let Some(nodes) = &self.nodes {
                    nodes.trouble(&hub);
                }
                self.recover_later();
            }
            Fault::Stop => {
                if let Some(node) = self.some_node() {
                    self.stop(node);
                }
            }
            Fault::Clock => {
                // The error is small most of the time, sometimes days, and ends after a moment.
                let most = *hub.lock().dice.pick(&[2_000, MOST_AT_START, MOST_SKEW, 0]);
                let skew = hub.roll((0, 2 * most as u64)) as i64 - most;
                hub.set_clock(skew);
            }
        }
    }

    fn recover_later(&self) {
        let delay = self.hub.roll((200, 8_000));
        self.hub.after(delay, Event::Recover);
    }

    /// Ends all faults of the disk, of Redis and of the receiver of notifications.
    pub(super) fn recover(&mut self) {
        if let Some(record) = &self.record {
            record.stepper.trouble(None);
        }
        if let Some(nodes) = &self.nodes {
            nodes.recover();
        }
        let mut state = self.hub.lock();
        state.disk = self.scenario.disk;
        state.refusing = 0;
    }
}
