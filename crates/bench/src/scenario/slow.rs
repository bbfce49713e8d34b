//! Slow readers: some clients stop reading while everyone receives messages. Measures what they cost the
//! server, and whether it frees that memory again.
//!
//! The last clients of the run stop. Messages in flight are counted only by the other clients, from the
//! start, so that the load is the same before and after. The clients that stop have connections like those
//! over a network: on loopback the kernel would buffer megabytes for each before the server's own limit is
//! reached. After the measurement they read again, which shows whose connection the server has closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;

use super::groups::{Groups, Listeners};
use super::{Setting, teams};
use crate::args::Audience;
use crate::crowd::{Crowd, Load};
use crate::process;
use crate::report::Report;
use crate::run::{Measured, Moment, Parameters, Scenario, Share};
use crate::tally::Tally;
use crate::watch::Watch;

/// How long the clients may take to receive the messages in flight when no more are sent.
const SETTLING: Duration = Duration::from_secs(1);
/// How long the clients that read again may take to notice that they were closed.
const NOTICING: Duration = Duration::from_secs(5);

/// The options of the scenario.
pub(crate) struct Options {
    /// The recipients of the messages.
    pub(crate) to: Audience,
    /// The percentage of the clients that stop.
    pub(crate) percent: usize,
    /// The number of messages in flight.
    pub(crate) in_flight: usize,
    /// The time without load before memory is read again.
    pub(crate) quiet: Duration,
}

/// Signals of the main thread to the others.
#[derive(Default)]
struct Signals {
    /// The slow clients stop reading.
    stop: AtomicBool,
    /// The slow clients read again.
    read_again: AtomicBool,
}

/// The server's resident memory at stages of the run; all 0 if no process is read.
#[derive(Default)]
struct Memory {
    idle: u64,
    before: u64,
    highest: u64,
    after: u64,
}

/// The load of one thread, whose clients `slow` stop reading.
struct Readers<'a> {
    listeners: Listeners<'a>,
    signals: &'a Signals,
    slow: std::ops::Range<usize>,
    stopped: bool,
    reads_again: bool,
}

/// Runs the scenario.
pub(crate) fn run(plan: &Parameters, setting: &Setting, options: &Options) -> anyhow::Result<Report> {
    let n = plan.connections;
    let stopped = (n * options.percent).div_ceil(100);
    let healthy = n - stopped;
    ensure!(
        healthy > usize::from(options.to == Audience::Team),
        "some clients must read: lower --stopped"
    );
    let plan = Parameters {
        slow_from: healthy,
        ..plan.clone()
    };
    let team = format!("{}-team", plan.prefix);
    if options.to == Audience::Team {
        let members: Vec<_> = (0..n).map(|client| format!("{}-{client}", plan.prefix)).collect();
        teams::make(&plan, setting, &team, &members)?;
    }
    let groups = Groups::new(&plan, (options.to, None), options.in_flight, (n, healthy), team);
    groups.paused.store(true, Ordering::Relaxed);
    let (signals, mut memory, mut closed) = (Signals::default(), Memory::default(), 0);
    let outcome = plan.run_as(
        |crowd, share, tally| Readers::new(crowd, (&plan, setting), share, tally, (&groups, &signals)),
        |watch, begin| {
            let done = measure(watch, begin, options, (&groups, &signals), &mut memory)?;
            let dropped = || watch.tally.dropped.load(Ordering::Relaxed);
            signals.read_again.store(true, Ordering::Relaxed);
            watch.progress.clear();
            watch.wait(NOTICING, "reading again", || Ok(dropped() == stopped))?;
            closed = dropped();
            Ok(done)
        },
    )?;
    let mut report = Report::new("slow", n, &outcome);
    report.add("in_flight", options.in_flight as f64, "");
    report.add("stopped", stopped as f64, "");
    report.add("stopped_closed_by_server", closed as f64, "");
    report.rate(
        ["deliveries_per_second", "deliveries_per_cpu_second"],
        outcome.counts.delivered,
        &outcome.measured,
    );
    let bytes = outcome.counts.sent as f64 * setting.text.len() as f64;
    report.add("text_bytes_to_each", bytes, "B");
    report.latency(&outcome.latency);
    if memory.before > 0 {
        report.add("idle_rss_bytes", memory.idle as f64, "B");
        report.add("before_rss_bytes", memory.before as f64, "B");
        report.add("highest_rss_bytes", memory.highest as f64, "B");
        report.add("after_rss_bytes", memory.after as f64, "B");
        report.add("after_to_before", memory.after as f64 / memory.before as f64, "");
    }
    report.costs(&outcome);
    Ok(report)
}

/// Measures the load while all clients read, then while some do not, and then the time without load.
fn measure(
    watch: &mut Watch<'_>,
    begin: &Moment,
    options: &Options,
    (groups, signals): (&Groups, &Signals),
    memory: &mut Memory,
) -> anyhow::Result<Measured> {
    let (plan, tally) = (watch.plan, watch.tally);
    let flow = |flows: bool| groups.paused.store(!flows, Ordering::Relaxed);
    let rss = || anyhow::Ok(process::usage(&plan.pids)?.map_or(0, |server| server.rss_bytes));
    watch.registered()?;
    let connected = watch.now()?;
    watch.wait(SETTLING, "settling", || Ok(false))?;
    memory.idle = rss()?;
    if !plan.warmup.is_zero() {
        flow(true);
        watch.wait(plan.warmup, "all clients read", || Ok(false))?;
        flow(false);
        watch.wait(SETTLING, "settling", || Ok(false))?;
    }
    memory.before = rss()?;
    memory.highest = memory.before;
    let (before, counts) = (watch.now()?, tally.counts());
    signals.stop.store(true, Ordering::Relaxed);
    tally.measuring.store(true, Ordering::Relaxed);
    flow(true);
    let mut sample = || {
        memory.highest = memory.highest.max(rss()?);
        Ok(false)
    };
    watch.wait(plan.measured, "some clients do not read", &mut sample)?;
    tally.measuring.store(false, Ordering::Relaxed);
    let (after, counts) = (watch.now()?, tally.counts().since(counts));
    flow(false);
    watch.wait(options.quiet, "no load", sample)?;
    memory.after = rss()?;
    Ok(Measured {
        connect: begin.to(&connected),
        measured: before.to(&after),
        counts,
    })
}

impl<'a> Readers<'a> {
    fn new(
        crowd: &mut Crowd<'_>,
        (plan, setting): (&Parameters, &'a Setting),
        share: Share,
        tally: &Arc<Tally>,
        (groups, signals): (&'a Groups, &'a Signals),
    ) -> anyhow::Result<Self> {
        Ok(Self {
            listeners: Listeners::new(crowd, (plan, setting), share, tally, groups)?,
            signals,
            slow: plan.slow_from.saturating_sub(share.first).min(share.count)..share.count,
            stopped: false,
            reads_again: false,
        })
    }
}

impl Load for Readers<'_> {
    fn event(&mut self, crowd: &mut Crowd<'_>, to: usize, packet: &[u8]) {
        if !self.slow.contains(&to) {
            self.listeners.event(crowd, to, packet);
        }
    }

    fn answer(&mut self, crowd: &mut Crowd<'_>, on: usize, status: u16) {
        self.listeners.answer(crowd, on, status);
    }

    fn turn(&mut self, crowd: &mut Crowd<'_>) {
        if !self.stopped && self.signals.stop.load(Ordering::Relaxed) {
            self.stopped = true;
            self.slow.clone().for_each(|client| crowd.stop_reading(client));
        }
        if !self.reads_again && self.signals.read_again.load(Ordering::Relaxed) {
            self.reads_again = true;
            self.slow.clone().for_each(|client| crowd.read_again(client));
        }
        self.listeners.turn(crowd);
    }
}

impl Scenario for Readers<'_> {
    fn latency(&self) -> Option<&crate::latency::Latency> {
        self.listeners.latency()
    }
}
