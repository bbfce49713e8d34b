//! What all parts of a run share: the dice, the scheduled events, the history as it was committed, and the
//! violated invariants.
//!
//! Invariant: no code of the gateway is called while the lock is held, because the gateway calls back.

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

/// The time of day when a run begins, in Unix milliseconds.
const NOON: u64 = 1_790_000_000_000;

/// A scheduled event.
#[derive(Debug)]
pub(super) enum Event {
    /// The store's writer commits.
    Commit,
    /// The store calls a node back.
    CallBack(usize),
    /// A client takes its next step.
    App(usize),
    /// A client's connection is established.
    Connect(usize),
    /// The server's socket takes the next frame of a connection's queue.
    Write(usize),
    /// A frame arrives.
    ToClient(usize, Down),
    ToServer(usize, Up),
    /// One side notices that the connection has ended.
    ServerHears(usize),
    ClientHears(usize),
    /// The backend starts a new call.
    Backend,
    /// A call of the backend is made, or has ended.
    Call(usize),
    Called(usize, Result<(), Reject>),
    /// The next fault happens.
    Fault,
    /// Faults of the disk and of the receiver of notifications end.
    Recover,
    /// A node starts, for the first time or after a crash.
    Start(usize),
    /// A node learns which other nodes are running.
    Know(usize),
    /// A node that is stopped ends a connection.
    SendAway(usize),
    /// A node that is stopped ends.
    End(usize),
}

type Callback = Box<dyn FnOnce() + Send>;

/// The shared state.
pub(super) struct HubState {
    pub(super) dice: Dice,
    pub(super) pipes: Pipes,
    pub(super) truth: Truth,
    pub(super) devices: Devices,
    pub(super) trace: Trace,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    /// Difference between the time of day and the true time, in milliseconds.
    pub(super) skew: i64,
    /// An [`Event::Commit`] is scheduled.
    commit_due: bool,
    /// Callbacks of the store that are still to be called, in order, by node.
    told: BTreeMap<usize, VecDeque<Callback>>,
    /// Shortest and longest duration of a commit and of a read, in milliseconds.
    pub(super) disk: (u64, u64),
    /// The second part of the run has begun: faults no longer happen.
    pub(super) quiet: bool,
    pub(super) wrong: Vec<String>,
    /// The notifications that were accepted.
    pub(super) notified: BTreeSet<(Uid, Mid)>,
    /// Percentage of notifications that are refused.
    pub(super) refusing: u64,
    pub(super) several_nodes: bool,
}

/// A handle to the shared state. Cloning it is cheap.
#[derive(Clone)]
pub(super) struct Hub {
    state: Arc<Mutex<HubState>>,
    begun: Instant,
    /// Notified when an event was scheduled, which may be earlier than the one that the event loop waits for.
    pub(super) changed: Arc<Notify>,
}

impl Hub {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(HubState {
                dice: Dice::new(seed),
                pipes: Pipes::default(),
                truth: Truth::default(),
                devices: Devices::default(),
                trace: Trace::new(),
                events: BTreeMap::new(),
                order: 0,
                skew: 0,
                commit_due: false,
                told: BTreeMap::new(),
                disk: (0, 10),
                quiet: false,
                wrong: Vec::new(),
                notified: BTreeSet::new(),
                refusing: 0,
                several_nodes: false,
            })),
            begun: Instant::now(),
            changed: Arc::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HubState> {
        self.state.lock()
    }

    /// Returns the milliseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Returns the time of day in Unix milliseconds, with its error.
    pub(super) fn day(&self) -> u64 {
        (NOON + self.now()).saturating_add_signed(self.lock().skew)
    }

    /// Sets the clock, to differ from the true time by `skew` milliseconds.
    pub(super) fn set_clock(&self, skew: i64) {
        self.note(format!("the clock is off by {skew} ms"));
        let mut state = self.lock();
        state.skew = skew;
        state.truth.clock_was_set = true;
    }

    pub(super) fn instant(&self, at: u64) -> Instant {
        self.begun + Duration::from_millis(at)
    }

    /// Schedules an event in `delay` milliseconds.
    pub(super) fn after(&self, delay: u64, event: Event) {
        let at = self.now() + delay;
        self.lock().at(at, event);
        self.changed.notify_one();
    }

    pub(super) fn note(&self, what: impl AsRef<str>) {
        let now = self.now();
        self.lock().trace.line(now, what.as_ref());
    }

    /// Reports the violation of an invariant.
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

    /// Schedules a commit, because the store was given something to write.
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

    /// Queues a callback of the store, which is usually called at once.
    pub(super) fn queue_callback(&self, node: usize, call: Callback) {
        let first = {
            let mut state = self.lock();
            let told = state.told.entry(node).or_default();
            told.push_back(call);
            told.len() == 1
        };
        if first {
            self.schedule_callbacks(node);
        }
    }

    fn schedule_callbacks(&self, node: usize) {
        let delay = if self.percent(80) { 0 } else { self.roll((0, 20)) };
        self.after(delay, Event::CallBack(node));
    }

    fn waiting_callbacks(&self, node: usize) -> usize {
        self.lock().told.get(&node).map_or(0, VecDeque::len)
    }

    /// Calls some of the queued callbacks of a node.
    pub(super) fn call_back(&self, node: usize) {
        let waiting = self.waiting_callbacks(node) as u64;
        for _ in 0..self.roll((0, waiting)) {
            let call = self.lock().told.get_mut(&node).and_then(VecDeque::pop_front);
            if let Some(call) = call {
                call();
            }
        }
        if self.waiting_callbacks(node) > 0 {
            self.schedule_callbacks(node);
        }
    }

    /// Drops the queued callbacks of a node, because it has crashed.
    pub(super) fn drop_callbacks(&self, node: usize) {
        let told = self.lock().told.remove(&node);
        drop(told);
    }

    /// The scheduled commit begins.
    pub(super) fn commit_begins(&self) {
        self.lock().commit_due = false;
    }

    /// Waits for as long as a read takes.
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

    /// Calls `with` with the shared part of a connection.
    pub(super) fn pipe<T>(&self, id: usize, with: impl FnOnce(&mut Pipe) -> T) -> T {
        with(self.lock().pipes.get(id))
    }
}

impl HubState {
    pub(super) fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    /// Returns when the next event happens.
    pub(super) fn next(&self) -> Option<u64> {
        self.events.keys().next().map(|(at, _)| *at)
    }

    /// Removes and returns an event that is due.
    pub(super) fn pop(&mut self, now: u64) -> Option<Event> {
        let due = self.next().is_some_and(|at| at <= now);
        due.then(|| self.events.pop_first())?.map(|(_, event)| event)
    }
}
