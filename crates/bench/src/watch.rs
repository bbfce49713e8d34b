//! The main thread of a run, while other threads run the clients: it waits, shows the progress, and reads the
//! meters.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::progress::Progress;
use crate::run::{Moment, Parameters};
use crate::tally::Tally;

/// The state of the main thread.
pub(crate) struct Watch<'a> {
    /// The parameters of the run.
    pub(crate) plan: &'a Parameters,
    /// The counters of all threads.
    pub(crate) tally: &'a Tally,
    /// The number of threads that have ended.
    pub(crate) gone: &'a AtomicUsize,
    /// The line that shows the progress.
    pub(crate) progress: Progress,
}

impl Watch<'_> {
    /// Reads the meters.
    pub(crate) fn now(&mut self) -> anyhow::Result<Moment> {
        self.progress.clear();
        Moment::now(self.plan)
    }

    /// Waits until all clients are registered.
    pub(crate) fn registered(&mut self) -> anyhow::Result<()> {
        let (tally, all) = (self.tally, self.plan.connections);
        let ready = || tally.ready.load(Ordering::Relaxed);
        self.until(
            Duration::from_millis(5),
            || Ok(ready() == all),
            || format!("{} of {all} registered", ready()),
        )
        .context("not all clients were registered")
    }

    /// Lets the load run for `time`, or until `enough` returns true.
    pub(crate) fn wait(
        &mut self,
        time: Duration,
        what: &str,
        mut enough: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let (tally, from) = (self.tally, Instant::now());
        let counts = tally.counts();
        self.until(
            Duration::from_millis(50).min(time),
            || Ok(enough()? || from.elapsed() >= time),
            || {
                let now = tally.counts().since(counts);
                let (seconds, count) = (
                    from.elapsed().as_secs_f64(),
                    now.delivered.max(now.answered) as f64,
                );
                format!(
                    "{what}: {seconds:.0} of {} s, {:.0}/s, {} lost",
                    time.as_secs(),
                    count / seconds,
                    tally.losses()
                )
            },
        )
    }

    /// Checks `over` again and again, until it returns true.
    pub(crate) fn until(
        &mut self,
        every: Duration,
        mut over: impl FnMut() -> anyhow::Result<bool>,
        text: impl Fn() -> String,
    ) -> anyhow::Result<()> {
        while !over()? {
            ensure!(
                self.gone.load(Ordering::Relaxed) == 0,
                "the run is aborted: a thread ended early"
            );
            thread::sleep(every);
            self.progress.show(&text);
        }
        Ok(())
    }
}
