//! A run: threads connect their clients and then run the scenario's load, while this thread measures.

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

/// The parameters of a run.
#[derive(Clone)]
pub(crate) struct Parameters {
    /// The nodes of the server. Client `n` connects to node `n`, and to the first again after the last.
    pub(crate) targets: Vec<Target>,
    /// How the clients connect.
    pub(crate) transport: Transport,
    /// Whether clients register with `resume`, and are ready once their replay has ended.
    pub(crate) resume: bool,
    /// The start of the clients' uids.
    pub(crate) prefix: String,
    /// The number of clients.
    pub(crate) connections: usize,
    /// The number of the first client that will stop reading. All clients after it will stop too.
    pub(crate) slow_from: usize,
    /// The number of clients that connect at the same time.
    pub(crate) at_once: usize,
    /// The number of threads.
    pub(crate) threads: usize,
    /// This many consecutive clients are always in the same thread: pairs, or groups.
    pub(crate) together: usize,
    /// The time of load before the measured time.
    pub(crate) warmup: Duration,
    /// The measured time.
    pub(crate) measured: Duration,
    /// The ids of the server's processes.
    pub(crate) pids: Vec<u32>,
    /// Whether to wait before each reading of the meters, so that other meters can be read.
    pub(crate) stepwise: bool,
}

/// The clients of one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// The number of the first client.
    pub(crate) first: usize,
    /// The number of clients.
    pub(crate) count: usize,
}

/// The load of one thread. It is created once the clients are registered.
pub(crate) trait Scenario: Load {
    /// The durations that were recorded.
    fn latency(&self) -> Option<&Latency> {
        None
    }
}

impl Scenario for Quiet {}

/// A part of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Its duration.
    pub(crate) time: Duration,
    /// The server's processes at its start and end.
    pub(crate) server: Option<(Usage, Usage)>,
    /// This process at its start and end.
    pub(crate) own: (Usage, Usage),
}

/// The results of a run.
pub(crate) struct Outcome {
    /// The time from the first connect to the last registration.
    pub(crate) connect: Span,
    /// The measured time.
    pub(crate) measured: Span,
    /// The counts of the measured time.
    pub(crate) counts: Counts,
    /// The time from each client's connect to its registration.
    pub(crate) arrivals: Latency,
    /// The durations that the scenario recorded.
    pub(crate) latency: Latency,
    /// The number of connections that were lost during the run, and the reason of the first.
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
    /// The present moment. In a stepwise run, waits for a line on standard input first.
    pub(crate) fn now(plan: &Parameters) -> anyhow::Result<Self> {
        if plan.stepwise {
            eprintln!("step");
            ensure!(
                stdin().read_line(&mut String::new())? > 0,
                "standard input has ended: nothing says when to continue"
            );
        }
        Ok(Self {
            at: Instant::now(),
            server: process::usage(&plan.pids)?,
            own: process::own()?,
        })
    }

    /// The span from this moment to a later one.
    pub(crate) fn to(&self, later: &Self) -> Span {
        Span {
            time: later.at - self.at,
            server: self.server.zip(later.server),
            own: (self.own, later.own),
        }
    }
}

/// The measurements that are taken while the threads work.
pub(crate) struct Measured {
    /// The time from the first connect to the last registration.
    pub(crate) connect: Span,
    /// The measured time.
    pub(crate) measured: Span,
    /// The counts of the measured time.
    pub(crate) counts: Counts,
}

impl Parameters {
    /// The node whose HTTP API is called.
    pub(crate) fn target(&self) -> &Target {
        // The command line has at least one URL, because there is a default.
        &self.targets[0]
    }

    /// Runs the load that `make` creates for each thread's share: first a warm-up, then the measured time.
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

    /// Like [`Parameters::run`], but `measure` decides what is measured when. It gets the moment at which the
    /// run started.
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

    /// Runs `work` in every thread, and `watch` in this one. When `watch` returns, the threads are told to
    /// stop.
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

    /// Divides the clients among the threads.
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

    /// Connects and registers the clients of one thread.
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
        // Wait until all threads listen: a message that is sent before that would never be counted as
        // delivered.
        tally.listening.fetch_add(share.count, Ordering::Relaxed);
        while tally.listening.load(Ordering::Relaxed) < self.connections && !stopped() {
            thread::sleep(Duration::from_millis(1));
        }
        crowd.run(&mut load, stopped)?;
        let latency = load.latency().cloned().unwrap_or_default();
        Ok((crowd.arrivals, latency))
    }
}
