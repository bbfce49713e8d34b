//! The record of a user in memory. It changes as the scripts change one in Redis: see `claim.lua`.

use std::collections::HashSet;

use tokio::time::Instant;

use crate::directory::{Entry, Ousted, Policy, Why};
use crate::ids::Order;

/// The record of a user: an empty one is not kept.
#[derive(Default)]
pub(super) struct Record {
    pub(super) last: u64,
    /// The oldest one is the first.
    pub(super) lines: Vec<Line>,
}

/// An entry.
pub(super) struct Line {
    pub(super) order: Order,
    pub(super) expires: Instant,
    pub(super) entry: Entry,
}

impl Record {
    pub(super) fn place(&self, sid: &str) -> Option<usize> {
        self.lines.iter().position(|line| *line.entry.sid == *sid)
    }

    /// Puts a line in its place, unless a later claim of the same connection is there. Returns the number of
    /// the claim that is there then.
    pub(super) fn enter(&mut self, own: Line, restores: bool) -> Order {
        let order = own.order;
        self.last = self.last.max(order.0);
        if let Some(at) = self.place(&own.entry.sid) {
            if self.lines[at].order <= order {
                self.lines[at] = own;
            }
            return self.lines[at].order;
        }
        let later = |line: &&Line| restores && line.order > own.order;
        let at = self.lines.len() - self.lines.iter().rev().take_while(later).count();
        self.lines.insert(at, own);
        order
    }

    /// Removes the connections that the policy does not allow together. If it is a new claim, `first` remains
    /// in any case; of the others, the later claims remain.
    pub(super) fn apply(&mut self, policy: Policy, first: Option<&str>) -> Vec<Ousted> {
        let (most, per_platform) = policy.limits();
        let (mut devices, mut platforms, mut kept) = (HashSet::new(), HashSet::new(), 0);
        let mut decide = |entry: &Entry| {
            if devices.contains(&entry.device) {
                return Some(Why::Stale);
            }
            if kept >= most || (per_platform && platforms.contains(&entry.platform)) {
                return Some(Why::Displaced);
            }
            devices.insert(entry.device.clone());
            platforms.insert(entry.platform.clone());
            kept += 1;
            None
        };
        let first = first.and_then(|sid| self.place(sid));
        if let Some(first) = first {
            decide(&self.lines[first].entry);
        }
        let mut why = vec![None; self.lines.len()];
        for at in (0..self.lines.len()).rev().filter(|at| Some(*at) != first) {
            why[at] = decide(&self.lines[at].entry);
        }
        let mut ousted = Vec::new();
        for (line, why) in std::mem::take(&mut self.lines).into_iter().zip(why) {
            match why {
                None => self.lines.push(line),
                Some(why) => ousted.push(Ousted {
                    why,
                    order: line.order,
                    entry: line.entry,
                }),
            }
        }
        ousted
    }
}
