//! A store under test, and what is done to it from outside: opening it, killing it, letting time pass.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mynah_store::Store;

/// The first value of the clocks.
pub const NOON: u64 = 1_790_000_000_000;

/// Options that differ between cases. All others are the same everywhere: a cid is remembered for 1 s, a team
/// has at most 10 members, a push job waits at most 75 s between two attempts and lives at most a day.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The maximum number of devices of a user that are remembered.
    pub max_devices: usize,
    /// Whether new members see earlier messages.
    pub see_all: bool,
    /// How long messages are kept, in milliseconds; 0 is unlimited.
    pub keep_ms: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            max_devices: 100,
            see_all: false,
            keep_ms: 0,
        }
    }
}

/// The time of day, which a case may set, and a steady clock that is independent of it.
#[derive(Debug, Clone)]
pub struct Clocks {
    day: Arc<AtomicU64>,
    steady: Arc<AtomicU64>,
}

impl Default for Clocks {
    fn default() -> Self {
        let noon = || Arc::new(AtomicU64::new(NOON));
        Self {
            day: noon(),
            steady: noon(),
        }
    }
}

impl Clocks {
    /// Returns the time of day in Unix milliseconds.
    pub fn day(&self) -> u64 {
        self.day.load(Ordering::Relaxed)
    }

    /// Returns the time of the steady clock: milliseconds, counted from the time of day at which the program
    /// began.
    pub fn steady(&self) -> u64 {
        self.steady.load(Ordering::Relaxed)
    }

    /// Lets time pass until the time of day is `now`.
    pub fn pass_until(&self, now: u64) {
        let before = self.day.swap(now, Ordering::Relaxed);
        self.steady.fetch_add(now - before, Ordering::Relaxed);
    }

    /// Sets the time of day, while no time passes.
    pub fn jump(&self, to: u64) {
        self.day.store(to, Ordering::Relaxed);
    }

    /// A program that starts sets its steady clock to the time of day.
    pub(crate) fn start(&mut self) {
        self.steady = Arc::new(AtomicU64::new(self.day()));
    }
}

/// A future for which a case waits.
pub type Wait<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Creates stores of one kind.
pub trait Stores: Send + Sync {
    /// Creates an empty store.
    fn make(&self, setup: Setup, clocks: &Clocks) -> Box<dyn Subject>;
}

/// A store under test.
pub trait Subject: Send + Sync {
    /// Returns the store, which is open unless it was closed.
    fn store(&self) -> &Arc<dyn Store>;

    /// Opens the store again after it was closed.
    fn open(&mut self, setup: Setup, clocks: &Clocks);

    /// Continues with what a killed process would have left. Everything that was answered is kept.
    fn crash<'a>(&'a mut self, setup: Setup, clocks: &'a Clocks) -> Wait<'a>;

    /// Keeps a copy of the closed store for [`Subject::go_back`].
    fn keep_copy(&mut self);

    /// Opens the copy instead of the closed store.
    fn go_back(&mut self, setup: Setup, clocks: &Clocks);

    /// Does what is due at this time, such as deleting old messages.
    fn catch_up(&self) -> Wait<'_>;
}

impl Subject for Box<dyn Subject> {
    fn store(&self) -> &Arc<dyn Store> {
        (**self).store()
    }

    fn open(&mut self, setup: Setup, clocks: &Clocks) {
        (**self).open(setup, clocks);
    }

    fn crash<'a>(&'a mut self, setup: Setup, clocks: &'a Clocks) -> Wait<'a> {
        (**self).crash(setup, clocks)
    }

    fn keep_copy(&mut self) {
        (**self).keep_copy();
    }

    fn go_back(&mut self, setup: Setup, clocks: &Clocks) {
        (**self).go_back(setup, clocks);
    }

    fn catch_up(&self) -> Wait<'_> {
        (**self).catch_up()
    }
}
