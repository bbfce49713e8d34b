//! Registered connections that only answer heartbeats.

use crate::crowd::Quiet;
use crate::report::{Report, server_cpu};
use crate::run::Parameters;

/// Measures the memory per connection after the warm-up, and the CPU of the heartbeats.
pub(crate) fn idle(plan: &Parameters) -> anyhow::Result<Report> {
    let outcome = plan.run(|_, _, _| Ok(Quiet))?;
    let connections = plan.connections as f64;
    let mut report = Report::new("idle", plan.connections, &outcome);
    if let (Some((empty, _)), Some((_, full))) = (outcome.connect.server, outcome.measured.server) {
        report.add("empty_rss_bytes", empty.rss_bytes as f64, "B");
        let grown = full.rss_bytes as f64 - empty.rss_bytes as f64;
        report.add("bytes_per_connection", grown / connections, "B");
        let hours = outcome.measured.time.as_secs_f64() / 3_600.0;
        let cpu = server_cpu(&outcome.measured).unwrap_or(0.0);
        report.add(
            "cpu_seconds_per_1000_connection_hours",
            cpu / connections / hours * 1_000.0,
            "s",
        );
    }
    report.costs(&outcome);
    Ok(report)
}

/// Only connects and registers clients.
pub(crate) fn connect(plan: &Parameters) -> anyhow::Result<Report> {
    let plan = Parameters {
        warmup: std::time::Duration::ZERO,
        measured: std::time::Duration::ZERO,
        ..plan.clone()
    };
    let outcome = plan.run(|_, _, _| Ok(Quiet))?;
    let mut report = Report::new("connect", plan.connections, &outcome);
    let seconds = outcome.connect.time.as_secs_f64();
    report.add("connects_per_second", plan.connections as f64 / seconds, "/s");
    report.latency(&outcome.arrivals);
    if let Some((empty, full)) = outcome.connect.server {
        report.add(
            "server_cpu_share",
            (full.cpu - empty.cpu).as_secs_f64() / seconds,
            "of a core",
        );
        report.add("server_peak_bytes", full.peak_bytes as f64, "B");
    }
    let (before, after) = outcome.connect.own;
    report.add(
        "client_cpu_share",
        (after.cpu - before.cpu).as_secs_f64() / seconds,
        "of a core",
    );
    Ok(report)
}
