//! A run: threads that gather their clients, then carry the scenario's load, while this thread measures.

use std::io::stdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};

use crate::args::Transport;
use crate::crowd::{Crowd, Load, Quiet};
use crate::latency::Latency;
use crate::net::Target;
use crate::process::{self, Usage};
use crate::progress::Progress;
use crate::tally::{Counts, Tally};
use crate::watch::Watch;

/// What is run.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) target: Target,
    /// How the clients connect.
    pub(crate) transport: Transport,
    /// Whether clients register with `resume` and are there once their replay has ended.
    pub(crate) resume: bool,
    /// What the uids begin with.
    pub(crate) prefix: String,
    /// Clients.
    pub(crate) connections: usize,
    /// The number of the first client that will stop reading; those after it will as well.
    pub(crate) slow_from: usize,
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
    /// Whether the meters are read only once somebody else has read theirs.
    pub(crate) stepwise: bool,
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

impl Scenario for Quiet {}

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
pub(crate) struct Moment {
    at: Instant,
    /// The server's processes.
    pub(crate) server: Option<Usage>,
    own: Usage,
}

impl Moment {
    /// Now, or after the step that somebody wants to take before.
    pub(crate) fn now(plan: &Plan) -> anyhow::Result<Self> {
        if plan.stepwise {
            eprintln!("step");
            ensure!(
                stdin().read_line(&mut String::new())? > 0,
                "nobody says when to go on: standard input has ended"
            );
        }
        Ok(Self {
            at: Instant::now(),
            server: process::usage(&plan.pids)?,
            own: process::own()?,
        })
    }

    /// The stretch from this moment to a later one.
    pub(crate) fn to(&self, later: &Self) -> Span {
        Span {
            time: later.at - self.at,
            server: self.server.zip(later.server),
            own: (self.own, later.own),
        }
    }
}

/// What is measured while the threads work.
pub(crate) struct Measured {
    /// From the first connect to the last registration.
    pub(crate) connect: Span,
    /// The measured time.
    pub(crate) measured: Span,
    /// What was counted in it.
    pub(crate) counts: Counts,
}

impl Plan {
    /// Runs the load that `make` makes for each thread's share: a warm-up, then the measured time.
    pub(crate) fn run<S: Scenario>(
        &self,
        make: impl Fn(&mut Crowd<'_>, Share, &Arc<Tally>) -> anyhow::Result<S> + Sync,
    ) -> anyhow::Result<Outcome> {
        self.run_as(make, |watch, begin| {
            watch.registered()?;
            let connected = watch.now()?;
            watch.wait(self.warmup, "warming up", || Ok(false))?;
            let (before, counts) = (watch.now()?, watch.tally.counts());
            watch.tally.measuring.store(true, Ordering::Relaxed);
            watch.wait(self.measured, "measuring", || Ok(false))?;
            watch.tally.measuring.store(false, Ordering::Relaxed);
            Ok(Measured {
                connect: begin.to(&connected),
                measured: before.to(&watch.now()?),
                counts: watch.tally.counts().since(counts),
            })
        })
    }

    /// The same, with a course of its own: `measure` gets the moment at which all began.
    pub(crate) fn run_as<S: Scenario>(
        &self,
        make: impl Fn(&mut Crowd<'_>, Share, &Arc<Tally>) -> anyhow::Result<S> + Sync,
        measure: impl FnOnce(&mut Watch<'_>, &Moment) -> anyhow::Result<Measured>,
    ) -> anyhow::Result<Outcome> {
        let tally = Arc::new(Tally::default());
        let begin = Moment::now(self)?;
        let (durations, done) = self.threads(
            &tally,
            |share| self.work(share, &tally, &make),
            |watch| measure(watch, &begin),
        )?;
        let (mut arrivals, mut latency) = (Latency::default(), Latency::default());
        for (arrived, recorded) in durations {
            arrivals.merge(&arrived);
            latency.merge(&recorded);
        }
        Ok(Outcome {
            connect: done.connect,
            measured: done.measured,
            counts: done.counts,
            arrivals,
            latency,
            lost: tally.lost().map(|reason| (tally.losses(), reason)),
        })
    }

    /// Lets every thread work on its share while `watch` goes on here. When that is over the threads are told to stop.
    pub(crate) fn threads<T: Send, M>(
        &self,
        tally: &Tally,
        work: impl Fn(Share) -> anyhow::Result<T> + Sync,
        watch: impl FnOnce(&mut Watch<'_>) -> anyhow::Result<M>,
    ) -> anyhow::Result<(Vec<T>, M)> {
        let gone = AtomicUsize::new(0);
        thread::scope(|scope| {
            let workers: Vec<_> = self
                .shares()
                .map(|share| {
                    let (gone, work) = (&gone, &work);
                    scope.spawn(move || {
                        let result = work(share);
                        gone.fetch_add(1, Ordering::Relaxed);
                        result
                    })
                })
                .collect();
            let watched = watch(&mut Watch {
                plan: self,
                tally,
                gone: &gone,
                progress: Progress::new(),
            });
            tally.stop.store(true, Ordering::Relaxed);
            let done = workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_| anyhow!("a thread panicked"))?)
                .collect::<anyhow::Result<_>>()?;
            Ok((done, watched?))
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

    /// Connects and registers a thread's clients.
    pub(crate) fn gather(
        &self,
        crowd: &mut Crowd<'_>,
        share: Share,
        load: &mut impl Load,
    ) -> anyhow::Result<()> {
        crowd.gather(share.count, self.at_once.div_ceil(self.threads), load)
    }

    fn work<S: Scenario>(
        &self,
        share: Share,
        tally: &Arc<Tally>,
        make: impl Fn(&mut Crowd<'_>, Share, &Arc<Tally>) -> anyhow::Result<S>,
    ) -> anyhow::Result<(Latency, Latency)> {
        let mut crowd = Crowd::new(self, tally, share.first)?;
        self.gather(&mut crowd, share, &mut Quiet)?;
        let stopped = || tally.stop.load(Ordering::Relaxed);
        crowd.run(&mut Quiet, || {
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
}
