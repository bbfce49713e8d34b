//! Determines the age of messages although a clock may have been set since they were written, and a time that
//! has certainly passed.
//!
//! The **measured time** begins as PostgreSQL's time, advances with the steady clock, and catches up with
//! PostgreSQL's time at the same rate: it is at most twice as fast, whatever a clock says. It is stored from
//! time to time, and never goes back. It decides when devices and revocations are forgotten.
//!
//! Messages have the time of PostgreSQL's clock, and this machine's steady clock measures how much time has
//! passed. If the two differ, PostgreSQL's clock was set, which makes messages neither older nor younger.
//! Invariant: the age of messages from before the start of this node is what PostgreSQL's clock says.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Instant;

use mynah_store::UnixMillis;

use super::rows::Moment;
use super::rules::Rules;

/// The clocks may differ by this much although none was set, because an answer may take as long.
const SET_MS: u64 = 1_000;
/// The time after which the measured time is stored again.
const SAVE_MS: u64 = 1_000;
/// The maximum number of jumps that are remembered.
const MOST_JUMPS: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Age {
    /// The values of the clocks when they were last read: the time of day, and the steady clock.
    last: Option<(UnixMillis, UnixMillis)>,
    /// See the module.
    measured: UnixMillis,
    /// The value of `measured` that was stored last.
    saved: UnixMillis,
    /// The first row after a jump, and by how many milliseconds the clock jumped.
    jumps: VecDeque<(i64, i64)>,
}

/// This machine's steady clock.
pub(super) fn steady() -> UnixMillis {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Age {
    /// Continues from a stored measured time. `day` is PostgreSQL's time.
    pub(super) fn after(measured: UnixMillis, day: UnixMillis, rules: &Rules) -> Self {
        let last = rules
            .clock
            .as_ref()
            .map_or_else(|| (day, steady()), |clock| clock());
        Self {
            last: Some(last),
            measured,
            ..Self::default()
        }
    }

    /// Returns the measured time if it must be stored now, or if `always` is set.
    pub(super) fn unsaved(&mut self, always: bool) -> Option<UnixMillis> {
        let is_due = self.measured > self.saved && (always || self.measured - self.saved >= SAVE_MS);
        is_due.then(|| std::mem::replace(&mut self.saved, self.measured).max(self.measured))
    }

    /// A transaction begins. Returns it with the times that apply to it.
    pub(super) fn advance(&mut self, mut moment: Moment, rules: &Rules) -> Moment {
        let (day, steady) = match &rules.clock {
            Some(clock) => {
                (moment.now, moment.steady) = clock();
                (moment.now, moment.steady)
            }
            None => (moment.now, steady()),
        };
        if let Some((day_then, steady_then)) = self.last {
            let passed = steady.saturating_sub(steady_then);
            let behind = day.saturating_sub(self.measured + passed);
            self.measured += passed + behind.min(passed);
            let expected = day_then.saturating_add(passed);
            if day.abs_diff(expected) >= SET_MS {
                if self.jumps.len() == MOST_JUMPS {
                    self.jumps.pop_front();
                }
                self.jumps
                    .push_back((moment.first_row(), day.wrapping_sub(expected) as i64));
            }
        }
        self.last = Some((day, steady));
        moment.measured = self.measured;
        moment
    }

    /// The age at `now` of a message with this row that was written at `ts`.
    pub(super) fn of(&self, now: UnixMillis, row: i64, ts: UnixMillis) -> u64 {
        let jumps = self.jumps.iter().filter(|(first, _)| row < *first);
        let jumped: i64 = jumps.map(|(_, by)| by).sum();
        let told = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub_unsigned(ts);
        told.saturating_sub(jumped).max(0).unsigned_abs()
    }
}
