//! Measures how much time has really passed, whatever the machine's clock says.
//!
//! Two times are kept, and both begin as the time of day. The **running time** advances with the steady clock
//! while the store is open, and only then: the age of messages is computed from it (retention.rs). While the
//! store was closed nothing was measured, and the time of day may be wrong at the next start (a machine
//! without a battery, a snapshot). The length of the stop, according to the time of day, is therefore
//! accepted gradually: the run that follows adds one more second to the age of earlier messages for each
//! second that it measures. The **measured time** catches up with the time of day at the same rate. It
//! decides when devices and revocations are forgotten.
//!
//! Invariants: neither time goes back. The running time advances exactly as fast as the steady clock, the
//! measured time at most twice as fast.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mynah_store::UnixMillis;
use mynah_store::transfer::Times;
use rusqlite::{Connection, OptionalExtension};

use super::clock::Clock;
use super::meta;

/// The key in `meta` of the measured time, the time of day at that moment, the difference that was not added
/// yet, and the running time.
const KEY: &str = "age";
/// The measured time is stored with the first transaction after this interval, and when the store is closed.
const SAVE_MS: u64 = 60_000;
/// If the time of day and the steady clock differ by less than this, the clock was not set.
const SET_MS: u64 = 1_000;
/// A jump of the clock by at least this much is logged.
const LOGGED_MS: u64 = 60_000;
/// A stop of at least this length, according to the time of day, is logged.
const LONG_STOP_MS: u64 = 24 * 3_600_000;
/// The maximum number of jumps that are remembered.
const MOST_JUMPS: usize = 64;

/// The times, as the writer knows them.
pub(super) struct Age {
    clock: Clock,
    /// The values of the clocks when they were last read.
    day: UnixMillis,
    steady: UnixMillis,
    /// The measured time.
    measured: UnixMillis,
    /// The part of the advance of the time of day that has not been added yet.
    unbelieved: u64,
    /// The running time.
    ran: UnixMillis,
    stop: Stop,
    /// The value of `measured` that was stored last.
    saved: Option<UnixMillis>,
    /// A jump of the clock: by how many milliseconds, and the row number of the next message.
    jumps: VecDeque<(i64, i64)>,
    /// The value of [`Age::certain`], for other threads.
    shared: Arc<AtomicU64>,
}

/// How long the store was closed before it was opened.
#[derive(Debug, Default)]
struct Stop {
    /// The time of day when the running time was stored last.
    since: UnixMillis,
    /// The running time since then.
    ran: u64,
    /// The part of the stop that was accepted so far.
    believed: u64,
    /// The part of it that [`Age::take_stop`] has returned.
    taken: u64,
}

impl Age {
    /// Continues from the values in the database, or from the time of the newest message if it has none.
    pub(super) fn load(db: &Connection, clock: Clock) -> rusqlite::Result<Self> {
        let (day, steady) = (clock.day(), clock.steady());
        let kept = meta::get(db, KEY)?;
        let (measured, then, unbelieved, ran) = match kept.as_deref().and_then(parse) {
            Some(kept) => kept,
            None => {
                let newest: Option<i64> = db
                    .query_row("SELECT ts FROM messages ORDER BY id DESC LIMIT 1", [], |row| {
                        row.get(0)
                    })
                    .optional()?;
                let begin = newest.map_or(day, |newest| newest.unsigned_abs().min(day));
                (begin, begin, 0, begin)
            }
        };
        // After a crash the stored value is older than what was written since it was stored.
        let newest = "SELECT max(seen) FROM devices WHERE seen <= ?1";
        let limit = i64::try_from(measured.saturating_add(SAVE_MS)).unwrap_or(i64::MAX);
        let seen: Option<i64> = db.query_row(newest, [limit], |row| row.get(0))?;
        let ahead = seen.map_or(0, i64::unsigned_abs).saturating_sub(measured);
        if day.saturating_sub(then) >= LONG_STOP_MS {
            let days = (day - then) / LONG_STOP_MS;
            tracing::warn!(
                days,
                "The machine's clock says that the store was not in use for {days} days. If that is wrong, set the clock now: \
                 earlier messages age by it (store.retention_days), but only gradually, one second for each second that the server runs."
            );
        }
        let age = Self {
            clock,
            day,
            steady,
            measured: measured + ahead,
            unbelieved: (unbelieved + day.saturating_sub(then))
                .saturating_sub(then.saturating_sub(day) + ahead),
            ran,
            stop: Stop {
                since: then,
                ..Stop::default()
            },
            saved: None,
            jumps: VecDeque::new(),
            shared: Arc::default(),
        };
        age.share();
        Ok(age)
    }

    /// Reads the clocks. `next_row` is the row number of the next message.
    pub(super) fn advance(&mut self, next_row: i64) {
        let (day, steady) = (self.clock.day(), self.clock.steady());
        let passed = steady.saturating_sub(self.steady);
        let expected = self.day.saturating_add(passed);
        // A step back first reduces the difference that was not added yet; a step ahead increases it from now
        // on.
        let left = self.unbelieved.saturating_sub(expected.saturating_sub(day));
        let believed = left.min(passed);
        self.measured += passed + believed;
        self.unbelieved = left - believed + day.saturating_sub(expected);
        self.ran += passed;
        self.stop.ran += passed;
        let claimed = day.saturating_sub(self.stop.since).saturating_sub(self.stop.ran);
        let believed = claimed.min(self.stop.believed + passed);
        self.stop.believed = believed.max(self.stop.believed);
        (self.day, self.steady) = (day, steady);
        let by = day.abs_diff(expected);
        if by >= SET_MS {
            if self.jumps.len() == MOST_JUMPS {
                self.jumps.pop_front();
            }
            self.jumps
                .push_back((next_row, day.wrapping_sub(expected) as i64));
        }
        if by >= LOGGED_MS {
            let (seconds, way) = (by / 1_000, if day > expected { "ahead" } else { "back" });
            tracing::warn!(
                seconds,
                "The machine's clock jumped {way} by {seconds} s. Waits do not follow it, and messages of this run do not become older \
                 by it (store.retention_days); the times of new messages do."
            );
        }
        self.share();
    }

    /// Returns the time of day when the clocks were last read.
    pub(super) fn day(&self) -> UnixMillis {
        self.day
    }

    /// Returns the time of the steady clock when the clocks were last read.
    pub(super) fn steady(&self) -> UnixMillis {
        self.steady
    }

    /// Returns the measured time when the clocks were last read.
    pub(super) fn measured(&self) -> UnixMillis {
        self.measured
    }

    /// Returns the running time when the clocks were last read.
    pub(super) fn ran(&self) -> UnixMillis {
        self.ran
    }

    /// Returns the latest running time at which anything can have been written before the store was opened.
    pub(super) fn before_start(&self) -> UnixMillis {
        self.ran.saturating_add(SAVE_MS)
    }

    /// Returns the part of the last stop that was accepted since the last call. What was written in earlier
    /// runs is older by this.
    pub(super) fn take_stop(&mut self) -> u64 {
        let believed = self.stop.believed;
        believed - std::mem::replace(&mut self.stop.taken, believed)
    }

    /// Returns a time of day that has certainly passed. A token that expired before it is expired, however
    /// wrong the clock is.
    pub(super) fn certain(&self) -> UnixMillis {
        self.measured.min(self.day)
    }

    /// Returns where other threads find the value of [`Age::certain`].
    pub(super) fn shared(&self) -> Arc<AtomicU64> {
        self.shared.clone()
    }

    fn share(&self) {
        self.shared.store(self.certain(), Ordering::Relaxed);
    }

    /// Returns the age of the message with this row number that was written at the time of day `ts`, without
    /// the jumps of the clock since then.
    pub(super) fn of(&self, row: i64, ts: UnixMillis) -> u64 {
        let jumped: i64 = self
            .jumps
            .iter()
            .filter(|(next, _)| row < *next)
            .map(|(_, by)| by)
            .sum();
        let told = i64::try_from(self.day)
            .unwrap_or(i64::MAX)
            .saturating_sub_unsigned(ts);
        told.saturating_sub(jumped).max(0).unsigned_abs()
    }

    /// Stores the measured time if the interval has passed, or `always`.
    pub(super) fn save(&mut self, db: &Connection, always: bool) -> rusqlite::Result<()> {
        let recent = |saved| self.measured.saturating_sub(saved) < SAVE_MS;
        if !always && self.saved.is_some_and(recent) {
            return Ok(());
        }
        let value = format!("{},{},{},{}", self.measured, self.day, self.unbelieved, self.ran);
        meta::put(db, KEY, &value)?;
        self.saved = Some(self.measured);
        Ok(())
    }
}

/// Returns the times that were stored last.
pub(super) fn times(db: &Connection) -> rusqlite::Result<Option<Times>> {
    let kept = meta::get(db, KEY)?;
    let times = |(measured, day, _, running)| Times {
        day,
        measured,
        running,
    };
    Ok(kept.as_deref().and_then(parse).map(times))
}

/// Parses the stored value. Databases of earlier versions have no running time: their marks contain measured
/// times.
fn parse(kept: &str) -> Option<(u64, u64, u64, u64)> {
    let mut parts = kept.splitn(4, ',').map(str::parse);
    let mut next = || parts.next()?.ok();
    let (measured, day, unbelieved) = (next()?, next()?, next()?);
    Some((measured, day, unbelieved, next().unwrap_or(measured)))
}
