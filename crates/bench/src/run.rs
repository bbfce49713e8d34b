//! A run: threads that gather their clients, then carry the scenario's load, while this thread measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::args::Transport;
use crate::crowd::{Crowd, Load};
use crate::latency::Latency;
use crate::net::Target;
use crate::process::{self, Usage};
use crate::progress::Progress;
use crate::tally::{Counts, Tally};

/// What is run.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) target: Target,
    /// How the clients connect.
    pub(crate) transport: Transport,
    /// What the uids begin with.
    pub(crate) prefix: String,
    /// Clients.
    pub(crate) connections: usize,
    /// Clients that connect at the same time.
    pub(crate) at_once: usize,
    /// Threads.
    pub(crate) threads: usize,
    /// So many clients, from the first on, are always in one thread: pairs, or groups.
    pub(crate) together: usize,
    /// Time before the measured time, under the same load.
    pub(crate) warmup: Duration,
    /// The measured time.
    pub(crate) measured: Duration,
    /// The server's processes.
    pub(crate) pids: Vec<u32>,
}

/// Which clients of a run a thread has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// The number of the first.
    pub(crate) first: usize,
    /// How many.
    pub(crate) count: usize,
}

/// The load of one thread, made once its clients are registered.
pub(crate) trait Scenario: Load {
    /// The durations that it recorded.
    fn latency(&self) -> Option<&Latency> {
        None
    }
}

impl Scenario for crate::crowd::Quiet {}

/// A stretch of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// How long it took.
    pub(crate) time: Duration,
    /// The server's processes before and after.
    pub(crate) server: Option<(Usage, Usage)>,
    /// This process before and after.
    pub(crate) own: (Usage, Usage),
}

/// What came out.
pub(crate) struct Outcome {
    /// From the first connect to the last registration.
    pub(crate) connect: Span,
    /// The measured time.
    pub(crate) measured: Span,
    /// What was counted in it.
    pub(crate) counts: Counts,
    /// From the connect of each client to its registration.
    pub(crate) arrivals: Latency,
    /// Durations, where the scenario has some.
    pub(crate) latency: Latency,
    /// Connections lost during the run, and why the first.
    pub(crate) lost: Option<(usize, String)>,
}

/// The clock and the meters at one moment.
struct Moment {
    at: Instant,
    server: Option<Usage>,
    own: Usage,
}

impl Moment {
    fn now(pids: &[u32]) -> anyhow::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            server: process::usage(pids)?,
            own: process::own()?,
        })
    }

    fn to(&self, later: &Self) -> Span {
        Span {
            time: later.at - self.at,
            server: self.server.zip(later.server),
            own: (self.own, later.own),
        }
    }
}

impl Plan {
    /// Runs the load that `make` makes for each thread's share.
    pub(crate) fn run<S: Scenario>(
        &self,
        make: impl Fn(&mut Crowd<'_>, Share, &Arc<Tally>) -> anyhow::Result<S> + Sync,
    ) -> anyhow::Result<Outcome> {
        let tally = Arc::new(Tally::default());
        let gone = AtomicUsize::new(0);
        let begin = Moment::now(&self.pids)?;
        thread::scope(|scope| {
            let workers: Vec<_> = self
                .shares()
                .map(|share| {
                    let (tally, gone, make) = (&tally, &gone, &make);
                    scope.spawn(move || {
                        let result = self.work(share, tally, make);
                        gone.fetch_add(1, Ordering::Relaxed);
                        result
                    })
                })
                .collect();
            let measured = self.measure(&tally, &gone, &begin);
            tally.stop.store(true, Ordering::Relaxed);
            let (mut arrivals, mut latency) = (Latency::default(), Latency::default());
            for worker in workers {
                let (arrived, recorded) = worker.join().map_err(|_| anyhow!("a thread panicked"))??;
                arrivals.merge(&arrived);
                latency.merge(&recorded);
            }
            let (connect, measured, counts) = measured?;
            let lost = tally.lost().map(|reason| (tally.losses(), reason));
            Ok(Outcome {
                connect,
                measured,
                counts,
                arrivals,
                latency,
                lost,
            })
        })
    }

    /// Splits the clients among the threads.
    fn shares(&self) -> impl Iterator<Item = Share> {
        let each = self
            .connections
            .div_ceil(self.threads)
            .next_multiple_of(self.together);
        (0..self.connections).step_by(each).map(move |first| Share {
            first,
            count: each.min(self.connections - first),
        })
    }

    fn work<S: Scenario>(
        &self,
        share: Share,
        tally: &Arc<Tally>,
        make: impl Fn(&mut Crowd<'_>, Share, &Arc<Tally>) -> anyhow::Result<S>,
    ) -> anyhow::Result<(Latency, Latency)> {
        let mut crowd = Crowd::new(self, tally, share.first)?;
        crowd.gather(share.count, self.at_once.div_ceil(self.threads))?;
        let stopped = || tally.stop.load(Ordering::Relaxed);
        crowd.run(&mut crate::crowd::Quiet, || {
            stopped() || tally.ready.load(Ordering::Relaxed) == self.connections
        })?;
        let mut load = make(&mut crowd, share, tally)?;
        // What is sent before all listen would be waited for in vain.
        tally.listening.fetch_add(share.count, Ordering::Relaxed);
        while tally.listening.load(Ordering::Relaxed) < self.connections && !stopped() {
            thread::sleep(Duration::from_millis(1));
        }
        crowd.run(&mut load, stopped)?;
        let latency = load.latency().cloned().unwrap_or_default();
        Ok((crowd.arrivals, latency))
    }

    fn measure(
        &self,
        tally: &Tally,
        gone: &AtomicUsize,
        begin: &Moment,
    ) -> anyhow::Result<(Span, Span, Counts)> {
        let mut progress = Progress::new();
        while tally.ready.load(Ordering::Relaxed) < self.connections {
            if gone.load(Ordering::Relaxed) > 0 {
                return Err(anyhow!("not all clients were registered"));
            }
            thread::sleep(Duration::from_millis(5));
            progress.show(|| {
                format!(
                    "{} of {} registered",
                    tally.ready.load(Ordering::Relaxed),
                    self.connections
                )
            });
        }
        let connected = Moment::now(&self.pids)?;
        self.wait(tally, gone, self.warmup, "warming up", &mut progress)?;
        let (before, counts) = (Moment::now(&self.pids)?, tally.counts());
        tally.measuring.store(true, Ordering::Relaxed);
        self.wait(tally, gone, self.measured, "measuring", &mut progress)?;
        tally.measuring.store(false, Ordering::Relaxed);
        let (after, counts) = (Moment::now(&self.pids)?, tally.counts().since(counts));
        progress.clear();
        Ok((begin.to(&connected), before.to(&after), counts))
    }

    fn wait(
        &self,
        tally: &Tally,
        gone: &AtomicUsize,
        time: Duration,
        what: &str,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let (from, counts) = (Instant::now(), tally.counts());
        while let Some(left) = time.checked_sub(from.elapsed()) {
            if gone.load(Ordering::Relaxed) > 0 {
                return Err(anyhow!("a thread ended early")).context("run broken off");
            }
            thread::sleep(left.min(Duration::from_millis(200)));
            progress.show(|| {
                let now = tally.counts().since(counts);
                let (seconds, rate) = (
                    from.elapsed().as_secs_f64(),
                    now.delivered.max(now.answered) as f64,
                );
                format!(
                    "{what}: {seconds:.0} of {} s, {:.0}/s, {} lost",
                    time.as_secs(),
                    rate / seconds,
                    tally.losses()
                )
            });
        }
        Ok(())
    }
}
