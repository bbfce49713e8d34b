//! Every metric of the program, by name, in one place. Rendered at `/metrics`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Seconds, from 100 µs to 10 s.
const SECONDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Appends and changes of one transaction.
const BATCH: [f64; 13] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];

/// The kind of a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// Its number.
    pub kind: u16,
}

/// An answered HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// The method.
    pub method: &'static str,
    /// The route's pattern, or `other` (never a path, which would be unbounded).
    pub route: Arc<str>,
    /// The status code.
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// The metrics; cheap to update from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections that joined the namespace.
    pub connections: Gauge,
    /// Engine.IO sessions, joined or not.
    pub sessions: Gauge,
    /// Users with a registered connection.
    pub users_online: Gauge,
    /// Registrations that displaced another device.
    pub displaced: Counter,
    /// Frames received from clients.
    pub frames_in: Counter,
    /// Frames handed to connections.
    pub frames_out: Counter,
    /// Frames beyond a connection's rate, answered 429.
    pub frames_limited: Counter,
    /// Messages appended to the chat record.
    pub messages_appended: Family<KindLabel, Counter>,
    /// Messages handed to a connection (a message to five devices counts five).
    pub deliveries: Counter,
    /// From the commit to the write to the socket.
    pub delivery_seconds: Histogram,
    /// Bytes in all outbound queues.
    pub queue_bytes: Gauge,
    /// Connections closed because they did not read, since the start.
    pub slow_readers: Counter,
    /// Commands that wait for the store.
    pub store_queue: Gauge,
    /// Appends and changes of one transaction.
    pub store_batch: Histogram,
    /// One transaction, with its fsync.
    pub store_commit_seconds: Histogram,
    /// Transactions that failed because the store was in trouble.
    pub store_failures: Counter,
    /// Notifications that the provider took.
    pub push_sent: Counter,
    /// Attempts that failed.
    pub push_failed: Counter,
    /// Notifications given up.
    pub push_dead: Counter,
    /// Recipients who were connected, so that none was needed.
    pub push_skipped: Counter,
    /// Push jobs being worked off or waiting for a retry, as far as known.
    pub push_pending: Gauge,
    /// One attempt, with the provider's answer.
    pub push_attempt_seconds: Histogram,
    /// Answered HTTP requests, without those of Socket.IO.
    pub http_requests: Family<HttpLabels, Counter>,
    memory: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let seconds = || Histogram::new(SECONDS);
        let mut metrics = Self {
            registry: Registry::with_prefix("mynah"),
            connections: Gauge::default(),
            sessions: Gauge::default(),
            users_online: Gauge::default(),
            displaced: Counter::default(),
            frames_in: Counter::default(),
            frames_out: Counter::default(),
            frames_limited: Counter::default(),
            messages_appended: Family::default(),
            deliveries: Counter::default(),
            delivery_seconds: seconds(),
            queue_bytes: Gauge::default(),
            slow_readers: Counter::default(),
            store_queue: Gauge::default(),
            store_batch: Histogram::new(BATCH),
            store_commit_seconds: seconds(),
            store_failures: Counter::default(),
            push_sent: Counter::default(),
            push_failed: Counter::default(),
            push_dead: Counter::default(),
            push_skipped: Counter::default(),
            push_pending: Gauge::default(),
            push_attempt_seconds: seconds(),
            http_requests: Family::default(),
            memory: Gauge::default(),
        };
        metrics.name_all();
        metrics
    }

    /// The names, with what they mean. Counters get `_total` by themselves.
    fn name_all(&mut self) {
        let mut registry = std::mem::take(&mut self.registry);
        let r = &mut registry;
        r.register(
            "connections",
            "Connections that joined the namespace",
            self.connections.clone(),
        );
        r.register(
            "sessions",
            "Engine.IO sessions, joined or not",
            self.sessions.clone(),
        );
        r.register(
            "users_online",
            "Users with a registered connection",
            self.users_online.clone(),
        );
        r.register(
            "displaced",
            "Connections displaced by another device",
            self.displaced.clone(),
        );
        r.register(
            "frames_in",
            "Frames received from clients",
            self.frames_in.clone(),
        );
        r.register(
            "frames_out",
            "Frames handed to connections",
            self.frames_out.clone(),
        );
        r.register(
            "frames_limited",
            "Frames beyond the rate, answered 429",
            self.frames_limited.clone(),
        );
        r.register(
            "messages_appended",
            "Messages appended, by kind",
            self.messages_appended.clone(),
        );
        r.register(
            "deliveries",
            "Messages handed to a connection",
            self.deliveries.clone(),
        );
        r.register_with_unit(
            "delivery",
            "From the commit to the write to the socket",
            Unit::Seconds,
            self.delivery_seconds.clone(),
        );
        r.register(
            "queue_bytes",
            "Bytes in all outbound queues",
            self.queue_bytes.clone(),
        );
        r.register(
            "slow_readers",
            "Connections closed because they did not read",
            self.slow_readers.clone(),
        );
        r.register(
            "store_queue",
            "Appends and changes that wait for the store",
            self.store_queue.clone(),
        );
        r.register(
            "store_batch",
            "Appends and changes of one transaction",
            self.store_batch.clone(),
        );
        r.register_with_unit(
            "store_commit",
            "One transaction, with its fsync",
            Unit::Seconds,
            self.store_commit_seconds.clone(),
        );
        r.register(
            "store_failures",
            "Transactions that failed",
            self.store_failures.clone(),
        );
        r.register(
            "push_sent",
            "Notifications that the provider took",
            self.push_sent.clone(),
        );
        r.register(
            "push_failed",
            "Failed attempts to notify",
            self.push_failed.clone(),
        );
        r.register("push_dead", "Notifications given up", self.push_dead.clone());
        r.register(
            "push_skipped",
            "Recipients who were connected after all",
            self.push_skipped.clone(),
        );
        r.register(
            "push_pending",
            "Push jobs that are not finished",
            self.push_pending.clone(),
        );
        r.register_with_unit(
            "push_attempt",
            "One attempt to notify",
            Unit::Seconds,
            self.push_attempt_seconds.clone(),
        );
        r.register(
            "http_requests",
            "Answered HTTP requests",
            self.http_requests.clone(),
        );
        r.register(
            "memory_resident_bytes",
            "Memory of the process",
            self.memory.clone(),
        );
        let build = Family::<BuildLabels, Gauge>::default();
        build
            .get_or_create(&BuildLabels {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        r.register("build_info", "The version, as a label", build);
        self.registry = registry;
    }

    /// The metrics as OpenMetrics text.
    pub fn open_metrics(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = String::new();
        // Writing to a String cannot fail; an encoder that does leaves the text short.
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            tracing::error!("metrics could not be rendered");
        }
        text
    }

    /// The metrics in the older Prometheus text form, which names a counter with its suffix.
    pub fn prometheus_text(&self) -> String {
        let open = self.open_metrics();
        let mut text = String::with_capacity(open.len());
        let mut held = None;
        for line in open.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some("HELP"), Some(_), _) => held = Some(line),
                (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                    let suffix = if kind == "counter" { "_total" } else { "" };
                    if let Some(help) = held.take().and_then(|h| h.strip_prefix("# HELP ")) {
                        let about = help.split_once(' ').map_or("", |(_, about)| about);
                        text.push_str(&format!("# HELP {name}{suffix} {about}\n"));
                    }
                    text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
                }
                (Some("#"), ..) => {}
                _ => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text
    }
}

/// Memory of this process, where the system tells (Linux).
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_text_forms_name_what_was_counted() {
        let metrics = Metrics::new();
        metrics.frames_in.inc_by(3);
        metrics
            .messages_appended
            .get_or_create(&KindLabel { kind: 15 })
            .inc();
        metrics.delivery_seconds.observe(0.002);

        let open = metrics.open_metrics();
        assert!(open.contains("# TYPE mynah_frames_in counter"), "{open}");
        assert!(open.ends_with("# EOF\n"));

        let text = metrics.prometheus_text();
        assert!(
            text.contains("# HELP mynah_frames_in_total Frames received"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE mynah_frames_in_total counter\nmynah_frames_in_total 3\n"),
            "{text}"
        );
        assert!(
            text.contains("mynah_messages_appended_total{kind=\"15\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE mynah_delivery_seconds histogram\n"),
            "{text}"
        );
        assert!(
            text.contains("mynah_delivery_seconds_bucket{le=\"0.0025\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("mynah_build_info{version="), "{text}");
        assert!(!text.contains("EOF"), "{text}");
    }
}
