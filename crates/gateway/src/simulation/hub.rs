//! What all parts of a run share: the dice, what is to happen when, the record as it was committed, and what went wrong.
//!
//! Invariant: the lock is a leaf. Nothing of the gateway is called while it is held, as the gateway calls back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::cursors::Devices;
use super::dice::Dice;
use super::pipe::{Down, Pipe, Pipes, Up};
use super::trace::Trace;
use super::truth::Truth;
use crate::ids::{Mid, Uid};
use crate::reject::Reject;

/// When a run begins, in Unix milliseconds.
const NOON: u64 = 1_790_000_000_000;

/// Something that is to happen.
#[derive(Debug)]
pub(super) enum Event {
    /// The writer's turn.
    Commit,
    /// It tells its callers.
    Tell,
    /// An app's next step.
    App(usize),
    /// An app's connection is made.
    Connect(usize),
    /// The server's socket takes the next frame of a queue.
    Write(usize),
    /// A frame is there.
    ToClient(usize, Down),
    ToServer(usize, Up),
    /// The connection's end is noticed.
    ServerHears(usize),
    ClientHears(usize),
    /// The backend's next step.
    Backend,
    /// One of its calls is made; what became of it.
    Call(usize),
    Called(usize, Result<(), Reject>),
    /// The next fault.
    Fault,
    /// An end of trouble with the disk or the receiver of notifications.
    Mend,
    /// The server starts after a crash.
    Start,
}

/// See the module.
pub(super) struct State {
    pub(super) dice: Dice,
    pub(super) pipes: Pipes,
    pub(super) truth: Truth,
    pub(super) devices: Devices,
    pub(super) trace: Trace,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    /// How far the time of day is off.
    pub(super) skew: i64,
    /// The writer has a turn coming.
    commit_due: bool,
    /// What the writer is to tell, in this order.
    told: VecDeque<Box<dyn FnOnce() + Send>>,
    /// How long a commit and a read take.
    pub(super) disk: (u64, u64),
    /// Faults are over.
    pub(super) quiet: bool,
    pub(super) wrong: Vec<String>,
    /// Who was notified of what.
    pub(super) notified: BTreeSet<(Uid, Mid)>,
    /// How many notifications of a hundred are not taken.
    pub(super) refusing: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Hub {
    state: Arc<Mutex<State>>,
    begun: Instant,
    /// Something earlier is to happen than what was waited for.
    pub(super) changed: Arc<Notify>,
}

impl Hub {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                dice: Dice::new(seed),
                pipes: Pipes::default(),
                truth: Truth::default(),
                devices: Devices::default(),
                trace: Trace::new(),
                events: BTreeMap::new(),
                order: 0,
                skew: 0,
                commit_due: false,
                told: VecDeque::new(),
                disk: (0, 10),
                quiet: false,
                wrong: Vec::new(),
                notified: BTreeSet::new(),
                refusing: 0,
            })),
            begun: Instant::now(),
            changed: Arc::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Milliseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// The time of day.
    pub(super) fn day(&self) -> u64 {
        (NOON + self.now()).saturating_add_signed(self.lock().skew)
    }

    /// Somebody sets the clock, to be off by `skew` milliseconds.
    pub(super) fn set_clock(&self, skew: i64) {
        self.note(format!("the clock is off by {skew} ms"));
        let mut state = self.lock();
        state.skew = skew;
        state.truth.clock_was_set = true;
    }

    pub(super) fn instant(&self, at: u64) -> Instant {
        self.begun + Duration::from_millis(at)
    }

    /// Has something happen after so long.
    pub(super) fn after(&self, delay: u64, event: Event) {
        let at = self.now() + delay;
        self.lock().at(at, event);
        self.changed.notify_one();
    }

    pub(super) fn note(&self, what: impl AsRef<str>) {
        let now = self.now();
        self.lock().trace.line(now, what.as_ref());
    }

    /// An invariant does not hold.
    pub(super) fn wrong(&self, what: impl Into<String>) {
        let (now, what) = (self.now(), what.into());
        let mut state = self.lock();
        state.trace.line(now, &format!("WRONG: {what}"));
        state.wrong.push(what);
    }

    pub(super) fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong(what());
        }
    }

    pub(super) fn roll(&self, range: (u64, u64)) -> u64 {
        self.lock().dice.range(range)
    }

    pub(super) fn percent(&self, times: u64) -> bool {
        self.lock().dice.percent(times)
    }

    /// The store was told something: its writer gets a turn.
    pub(super) fn commit_soon(&self) {
        let delay = {
            let mut state = self.lock();
            if std::mem::replace(&mut state.commit_due, true) {
                return;
            }
            let disk = state.disk;
            state.dice.range(disk)
        };
        self.after(delay, Event::Commit);
    }

    /// The writer calls back, mostly at once.
    pub(super) fn tell(&self, call: Box<dyn FnOnce() + Send>) {
        let first = {
            let mut state = self.lock();
            state.told.push_back(call);
            state.told.len() == 1
        };
        if first {
            self.tell_soon();
        }
    }

    fn tell_soon(&self) {
        let delay = if self.percent(80) { 0 } else { self.roll((0, 20)) };
        self.after(delay, Event::Tell);
    }

    /// The writer has come to call back some.
    pub(super) fn tells(&self) {
        let waiting = self.lock().told.len() as u64;
        for _ in 0..self.roll((0, waiting)) {
            let call = self.lock().told.pop_front();
            if let Some(call) = call {
                call();
            }
        }
        if !self.lock().told.is_empty() {
            self.tell_soon();
        }
    }

    /// Nobody is told any more.
    pub(super) fn tells_nobody(&self) {
        let told = std::mem::take(&mut self.lock().told);
        drop(told);
    }

    /// The writer's turn has come.
    pub(super) fn commit_begins(&self) {
        self.lock().commit_due = false;
    }

    /// A read takes its time.
    pub(super) async fn read_takes(&self) {
        let delay = {
            let mut state = self.lock();
            let disk = state.disk;
            state.dice.range((0, disk.1))
        };
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
    }

    /// A connection's shared half.
    pub(super) fn pipe<T>(&self, id: usize, with: impl FnOnce(&mut Pipe) -> T) -> T {
        with(self.lock().pipes.get(id))
    }
}

impl State {
    pub(super) fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    /// When the next thing happens.
    pub(super) fn next(&self) -> Option<u64> {
        self.events.keys().next().map(|(at, _)| *at)
    }

    /// What is due.
    pub(super) fn pop(&mut self, now: u64) -> Option<Event> {
        let due = self.next().is_some_and(|at| at <= now);
        due.then(|| self.events.pop_first())?.map(|(_, event)| event)
    }
}
