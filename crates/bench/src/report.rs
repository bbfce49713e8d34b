//! The report that a run prints.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::latency::Latency;
use crate::run::{Outcome, Span};

/// The figures of a run, in the order in which they are printed.
pub(crate) struct Report {
    scenario: &'static str,
    figures: Vec<(&'static str, f64, &'static str)>,
    complaints: Vec<String>,
}

impl Report {
    /// The figures that every scenario has.
    pub(crate) fn new(scenario: &'static str, connections: usize, outcome: &Outcome) -> Self {
        let mut report = Self {
            scenario,
            figures: Vec::new(),
            complaints: Vec::new(),
        };
        if let Some((count, reason)) = &outcome.lost {
            report.complain(format!("{count} connections were lost, the first: {reason}"));
        }
        report.add("connections", connections as f64, "");
        report.add("connect_seconds", outcome.connect.time.as_secs_f64(), "s");
        if let Some(cpu) = server_cpu(&outcome.connect) {
            report.add("connects_per_cpu_second", connections as f64 / cpu, "/s");
        }
        report
    }

    /// Adds a figure. Its name ends with what it counts; the table also shows its unit.
    pub(crate) fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        if value.is_finite() {
            self.figures.push((name, value, unit));
        }
    }

    /// Adds a rate during the measured time: per second, and per second of the server's CPU.
    pub(crate) fn rate(&mut self, names: [&'static str; 2], count: u64, span: &Span) {
        self.add(names[0], count as f64 / span.time.as_secs_f64(), "/s");
        if let Some(cpu) = server_cpu(span) {
            self.add(names[1], count as f64 / cpu, "/s");
        }
    }

    /// Adds the quantiles of durations.
    pub(crate) fn latency(&mut self, latency: &Latency) {
        for (name, share) in [("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0)] {
            if let Some(millis) = latency.millis(share) {
                self.add(name, millis, "ms");
            }
        }
    }

    /// Adds the cost of the measured time on both sides.
    pub(crate) fn costs(&mut self, outcome: &Outcome) {
        let span = &outcome.measured;
        let seconds = span.time.as_secs_f64();
        self.add("measured_seconds", seconds, "s");
        if let Some((before, after)) = span.server {
            let cpu = (after.cpu - before.cpu).as_secs_f64();
            self.add("server_cpu_share", cpu / seconds, "of a core");
            self.add(
                "server_kernel_share",
                (after.system - before.system).as_secs_f64() / cpu,
                "of its CPU",
            );
            self.add("server_rss_bytes", after.rss_bytes as f64, "B");
            self.add("server_peak_bytes", after.peak_bytes as f64, "B");
        }
        let (before, after) = span.own;
        self.add(
            "client_cpu_share",
            (after.cpu - before.cpu).as_secs_f64() / seconds,
            "of a core",
        );
        self.add("refused", outcome.counts.refused as f64, "");
        self.add(
            "lost_connections",
            outcome.lost.as_ref().map_or(0, |lost| lost.0) as f64,
            "",
        );
    }

    /// Adds a reason why the figures cannot be trusted.
    pub(crate) fn complain(&mut self, reason: String) {
        self.complaints.push(reason);
    }

    /// The reasons why the figures cannot be trusted.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// As JSON: `{"scenario":...,"figures":{...}}`.
    pub(crate) fn json(&self) -> Value {
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|(name, value, _)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({"scenario": self.scenario, "figures": figures})
    }

    /// As a table.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("{}\n", self.scenario);
        for (name, value, unit) in &self.figures {
            let shown = if *value >= 100.0 || value.fract() == 0.0 {
                format!("{value:.0}")
            } else {
                format!("{value:.3}")
            };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  {name:<34}{shown:>14} {unit}");
        }
        out
    }
}

/// The server's CPU seconds in a span; `None` if no process is read, or if it used too little CPU to be
/// counted.
pub(crate) fn server_cpu(span: &Span) -> Option<f64> {
    let (before, after) = span.server?;
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    (cpu > 0.0).then_some(cpu)
}
