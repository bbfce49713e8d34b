//! A storm of resumes: clients that have not acknowledged their messages all reconnect at once.
//!
//! First they register, so that the server knows their devices, and receive their messages. Then all
//! disconnect. Their return is measured: each registers with `resume`, and is ready once its replay has
//! ended. The replay must contain every message exactly once. Each run uses uids of its own, for whom no
//! earlier run has left anything.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use super::Setting;
use super::inbox::{Inbox, Sum};
use crate::api;
use crate::crowd::Crowd;
use crate::latency::Latency;
use crate::report::Report;
use crate::restart::restart;
use crate::run::{Moment, Outcome, Parameters, Span};
use crate::tally::{Counts, Tally};
use crate::watch::Watch;

/// How long the clients may receive nothing while messages are still missing.
const PATIENCE: Duration = Duration::from_secs(15);
/// The maximum number of messages of one call, and of bytes of their text.
const PER_CALL: (usize, usize) = (1_000, 4 << 20);

/// The options of the scenario.
pub(crate) struct Options {
    /// The number of missed messages of each client.
    pub(crate) missed: usize,
    /// The number of conversations over which they are spread.
    pub(crate) conversations: usize,
    /// The command that restarts the server while all clients are disconnected.
    pub(crate) restart: Option<String>,
}

/// The measurements before all clients disconnected.
struct Before {
    connect: Span,
    rss_bytes: Option<u64>,
    /// After a restart: the server's new process, and how long the server was down.
    restarted: Option<(u32, Duration)>,
}

/// The measurements of the return.
struct After {
    span: Span,
    arrivals: Latency,
    sum: Sum,
    lost: Option<(usize, String)>,
}

/// Runs the scenario.
pub(crate) fn run(plan: &Parameters, setting: &Setting, options: &Options) -> anyhow::Result<Report> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let mut plan = Parameters {
        prefix: format!("{}-{now_ms:x}", plan.prefix),
        resume: true,
        ..plan.clone()
    };
    let before = disconnect_all(&plan, setting, options)?;
    if let Some((pid, _)) = before.restarted {
        plan.pids = vec![pid];
    }
    let after = reconnect_all(&plan, options)?;
    let outcome = Outcome {
        connect: before.connect,
        measured: after.span,
        counts: Counts::default(),
        arrivals: after.arrivals,
        latency: Latency::default(),
        lost: after.lost.clone(),
    };
    let mut report = Report::new("resume", plan.connections, &outcome);
    report.add("missed", options.missed as f64, "of each client");
    if let Some((_, down)) = before.restarted {
        report.add("down_seconds", down.as_secs_f64(), "s");
    }
    report.add("resume_seconds", after.span.time.as_secs_f64(), "s");
    report.rate(
        ["resumes_per_second", "resumes_per_cpu_second"],
        plan.connections as u64,
        &after.span,
    );
    report.rate(
        ["replayed_per_second", "replayed_per_cpu_second"],
        after.sum.replayed,
        &after.span,
    );
    report.latency(&outcome.arrivals);
    report.add("missing", after.sum.missing as f64, "");
    report.add("repeated", after.sum.repeated as f64, "");
    if let (Some(full), Some((empty, _))) = (before.rss_bytes, after.span.server) {
        report.add("before_rss_bytes", full as f64, "B");
        report.add("away_rss_bytes", empty.rss_bytes as f64, "B");
    }
    report.costs(&outcome);
    let Sum {
        missing,
        repeated,
        incomplete,
        ..
    } = after.sum;
    if missing > 0 {
        report.complain(format!(
            "{missing} messages were not in their replay; the server said that {incomplete} replays were incomplete \
             (limits.resume_messages)"
        ));
    }
    if repeated > 0 {
        report.complain(format!("{repeated} messages arrived more than once"));
    }
    Ok(report)
}

/// Registers all clients, sends the messages to them, and disconnects them: by closing their connections, or
/// by restarting the server.
fn disconnect_all(plan: &Parameters, setting: &Setting, options: &Options) -> anyhow::Result<Before> {
    let tally = Arc::new(Tally::default());
    let begin = Moment::now(plan)?;
    let (crowds, before) = plan.threads(
        &tally,
        |share| {
            let mut crowd = Crowd::new(plan, &tally, share.first)?;
            let mut inbox = Inbox::new(&tally, share.count, 0);
            plan.gather(&mut crowd, share, &mut inbox)?;
            crowd.run(&mut inbox, || tally.stop.load(Ordering::Relaxed))?;
            Ok(crowd)
        },
        |watch| {
            watch.registered()?;
            let connect = begin.to(&watch.now()?);
            send_all(watch, setting, options)?;
            let full = watch.now()?;
            if let Some(reason) = tally.lost() {
                bail!("a client was lost before the clients were disconnected: {reason}");
            }
            let restarted = match &options.restart {
                Some(command) => {
                    tally.leaving.store(true, Ordering::Relaxed);
                    let since = Instant::now();
                    Some((restart(command, plan.target())?, since.elapsed()))
                }
                None => None,
            };
            Ok(Before {
                connect,
                rss_bytes: full.server.map(|server| server.rss_bytes),
                restarted,
            })
        },
    )?;
    drop(crowds);
    Ok(before)
}

/// Sends the messages by the HTTP API, and waits until all have arrived.
fn send_all(watch: &mut Watch<'_>, setting: &Setting, options: &Options) -> anyhow::Result<()> {
    let (plan, tally) = (watch.plan, watch.tally);
    let all = plan.connections * options.missed;
    let arrived = || tally.delivered.load(Ordering::Relaxed) as usize;
    let per_call = (PER_CALL.1 / (setting.text.len() + 300)).clamp(1, PER_CALL.0);
    for from in (0..all).step_by(per_call) {
        let messages: Vec<_> = (from..all.min(from + per_call))
            .map(|number| {
                let (client, n) = (number / options.missed, number % options.missed);
                json!({
                    "type": Inbox::KIND,
                    "to": {"user": format!("{}-{client}", plan.prefix)},
                    "from": format!("{}-writer-{}", plan.prefix, n % options.conversations),
                    "data": {"n": n, "text": setting.text},
                    "push": false,
                })
            })
            .collect();
        let answer = api::call(
            plan.target(),
            &setting.api_key,
            "POST",
            "/v1/messages/batch",
            &json!({"messages": messages}),
        )?;
        let results = answer["results"].as_array().map_or(&[][..], Vec::as_slice);
        let refused = results
            .iter()
            .find(|result| result["results"][0]["mid"].is_null());
        ensure!(
            results.len() == messages.len() && refused.is_none(),
            "messages were refused: {}",
            refused.unwrap_or(&Value::Null)
        );
        watch.progress.show(|| format!("{from} of {all} messages sent"));
    }
    let mut last = (arrived(), Instant::now());
    watch.until(
        Duration::from_millis(5),
        || {
            let now = arrived();
            if now > last.0 {
                last = (now, Instant::now());
            }
            ensure!(
                last.1.elapsed() < PATIENCE,
                "{now} of {all} messages arrived, then none for 15 s"
            );
            Ok(now >= all)
        },
        || format!("{} of {all} messages arrived", arrived()),
    )
}

/// Reconnects all clients at once.
fn reconnect_all(plan: &Parameters, options: &Options) -> anyhow::Result<After> {
    let tally = Arc::new(Tally::default());
    let begin = Moment::now(plan)?;
    let (parts, span) = plan.threads(
        &tally,
        |share| {
            let mut crowd = Crowd::new(plan, &tally, share.first)?;
            let mut inbox = Inbox::new(&tally, share.count, options.missed);
            plan.gather(&mut crowd, share, &mut inbox)?;
            crowd.run(&mut inbox, || tally.stop.load(Ordering::Relaxed))?;
            Ok((crowd.arrivals, inbox.sum))
        },
        |watch| {
            watch.registered()?;
            Ok(begin.to(&watch.now()?))
        },
    )?;
    let (mut arrivals, mut sum) = (Latency::default(), Sum::default());
    for (arrived, part) in parts {
        arrivals.merge(&arrived);
        sum.add(&part);
    }
    Ok(After {
        span,
        arrivals,
        sum,
        lost: tally.lost().map(|reason| (tally.losses(), reason)),
    })
}
