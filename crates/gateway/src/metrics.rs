//! All metrics of the program, which are served at `/metrics`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use mynah_store::Observer;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::config::{Limits, Section};

/// Buckets for durations in seconds, from 100 µs to 10 s.
const SECONDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Buckets for the number of commands in one transaction.
const BATCH: [f64; 13] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];

/// The kind of a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// The kind's number.
    pub kind: u16,
}

/// A key of the configuration in `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabel {
    /// The key without `limits.`.
    pub limit: &'static str,
}

/// An answered HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// The method.
    pub method: &'static str,
    /// The route's pattern, or `other`. It is never the path, because there is no limit to the number of
    /// paths.
    pub route: Arc<str>,
    /// The status code.
    pub status: u16,
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiKeyLabel {
    /// The key's name. There are at most as many names as the operator has configured since the start.
    pub key: Arc<str>,
}

/// A server that the gateway calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TargetLabel {
    /// The scheme, host, port and path of its URL, without a query. There are at most as many as are
    /// configured.
    pub target: Arc<str>,
}

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// One of a few fixed words.
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// Each metric has its description, its field, which is also its name, its type, and its initial value.
macro_rules! metrics {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ pub $field:ident: $type:ty = $new:expr; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        pub struct $name {
            registry: Registry,
            memory: Gauge<u64, AtomicU64>,
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl $name {
            /// All metrics at zero.
            pub fn new() -> Self {
                let mut registry = Registry::with_prefix("mynah");
                $(
                    let $field: $type = $new;
                    let about = concat!($($doc),+).trim().trim_end_matches('.');
                    registry.register(stringify!($field), about, $field.clone());
                )+
                let memory = Gauge::default();
                registry.register("memory_resident_bytes", "Memory of the process", memory.clone());
                let build = Family::<BuildLabels, Gauge>::default();
                build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
                registry.register("build_info", "The version, as a label", build);
                Self { registry, memory, $( $field, )+ }
            }
        }
    };
}

metrics! {
    /// The metrics, which any thread can update at little cost. Rendered counters have the suffix `_total`.
    pub struct Metrics {
        /// Connections that are connected to the namespace.
        pub connections: Gauge = Gauge::default();
        /// Engine.IO sessions, whether they are connected to the namespace or not.
        pub sessions: Gauge = Gauge::default();
        /// Connections and requests that were refused, or closed before they did anything useful, by reason.
        pub connections_refused: Family<ReasonLabel, Counter> = Family::default();
        /// When the TLS certificate in use expires, in seconds since 1970; 0 without TLS.
        pub tls_certificate_expiry_seconds: Gauge = Gauge::default();
        /// Changed TLS files that could not be loaded.
        pub tls_reload_failures: Counter = Counter::default();
        /// Users with a registered connection.
        pub users_online: Gauge = Gauge::default();
        /// Registers that were refused, by reason.
        pub registers_refused: Family<ReasonLabel, Counter> = Family::default();
        /// Registrations that displaced another device.
        pub displaced: Counter = Counter::default();
        /// Frames received from clients.
        pub frames_in: Counter = Counter::default();
        /// Frames queued for connections.
        pub frames_out: Counter = Counter::default();
        /// The configured limits, by key; 0 means that there is no limit.
        pub limit: Family<LimitLabel, Gauge> = Family::default();
        /// Refusals because a limit was exceeded, by the limit's key.
        pub limited: Family<LimitLabel, Counter> = Family::default();
        /// Registers refused because a token was missing, invalid or another user's, or because the backend
        /// refused.
        pub auth_refused: Counter = Counter::default();
        /// Connections closed because their token had expired.
        pub auth_expired: Counter = Counter::default();
        /// Fetches of the issuer's key set.
        pub jwks_fetched: Counter = Counter::default();
        /// Fetches of the issuer's key set that failed.
        pub jwks_failed: Counter = Counter::default();
        /// Duration of one question to the backend about a register, including the wait for its turn.
        pub auth_webhook_seconds: Histogram = Histogram::new(SECONDS);
        /// Questions to the backend about a register that got no valid answer.
        pub auth_webhook_failed: Counter = Counter::default();
        /// Calls of webhooks that failed, by scheme, host, port and path of the URL.
        pub target_failures: Family<TargetLabel, Counter> = Family::default();
        /// Messages appended to the store.
        pub messages_appended: Family<KindLabel, Counter> = Family::default();
        /// Messages queued for a connection (a message to five devices counts five).
        pub deliveries: Counter = Counter::default();
        /// Messages replayed to devices that resumed.
        pub replayed: Counter = Counter::default();
        /// Time from the commit until all recipients' connections have the message in their queue.
        pub delivery_seconds: Histogram = Histogram::new(SECONDS);
        /// Bytes in all outbound queues.
        pub queue_bytes: Gauge = Gauge::default();
        /// Connections closed because the client read too slowly, since the start.
        pub slow_readers: Counter = Counter::default();
        /// Commands that wait for the store.
        pub store_queue: Gauge = Gauge::default();
        /// Appends and changes in one transaction.
        pub store_batch: Histogram = Histogram::new(BATCH);
        /// Duration of one transaction, including its fsync.
        pub store_commit_seconds: Histogram = Histogram::new(SECONDS);
        /// Transactions that failed because the store was unavailable.
        pub store_failures: Counter = Counter::default();
        /// Notifications that the provider accepted.
        pub push_sent: Counter = Counter::default();
        /// Attempts to send a notification that failed.
        pub push_failed: Counter = Counter::default();
        /// Notifications that were given up.
        pub push_dead: Counter = Counter::default();
        /// Recipients who had received the message, so that they needed no notification.
        pub push_skipped: Counter = Counter::default();
        /// Pending push jobs, including those that wait for a retry; counted once a second.
        pub push_pending: Gauge = Gauge::default();
        /// Duration of one attempt to send a notification, including the provider's response.
        pub push_attempt_seconds: Histogram = Histogram::new(SECONDS);
        /// Nodes that are running, this one included; 1 without a cluster.
        pub cluster_nodes: Gauge = Gauge::default();
        /// 1 while this node hears itself on the bus through Redis; 0 without a cluster.
        pub cluster_bus_up: Gauge = Gauge::default();
        /// Packets for other nodes that Redis has taken.
        pub cluster_packets_sent: Counter = Counter::default();
        /// Packets received from other nodes.
        pub cluster_packets_received: Counter = Counter::default();
        /// Packets that were dropped or refused. The record delivers what they carried, a second later.
        pub cluster_packets_dropped: Counter = Counter::default();
        /// Answered HTTP requests, without those of Socket.IO.
        pub http_requests: Family<HttpLabels, Counter> = Family::default();
        /// Calls that an API key allowed.
        pub api_calls: Family<ApiKeyLabel, Counter> = Family::default();
        /// Calls refused because the API key was missing, malformed, unknown, expired, or without the scope.
        pub api_refused: Family<ReasonLabel, Counter> = Family::default();
        /// 1 while the files of API keys cannot be read, and the last keys that could be read stay valid.
        pub api_keys_stale: Gauge = Gauge::default();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Publishes the configured limits.
    pub fn set_limits(&self, limits: &Limits) {
        let values = toml::Table::try_from(limits).unwrap_or_default();
        for key in Limits::KEYS {
            if let Some(value) = values.get(key.name).and_then(toml::Value::as_integer) {
                self.limit
                    .get_or_create(&LimitLabel { limit: key.name })
                    .set(value);
            }
        }
    }

    /// Counts that something was refused because of this limit.
    pub fn limited(&self, limit: &'static str) {
        self.limited.get_or_create(&LimitLabel { limit }).inc();
    }

    /// Counts that something was refused because of this limit, and returns the refusal.
    pub(crate) fn over<R>(&self, limit: &'static str, refusal: R) -> R {
        self.limited(limit);
        refusal
    }

    /// The counter of connections and requests refused for this reason.
    pub fn refused(&self, reason: &'static str) -> Counter {
        self.connections_refused
            .get_or_create(&ReasonLabel { reason })
            .clone()
    }

    /// The metrics as OpenMetrics text.
    pub fn open_metrics(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = String::new();
        // Writing to a String cannot fail. If the encoder fails, the text is incomplete.
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            tracing::error!("metrics could not be rendered");
        }
        text
    }

    /// The metrics in the older Prometheus text format, in which the name of a counter includes its suffix.
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

/// The resident memory of this process, if the system tells it (on Linux).
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

impl Observer for Metrics {
    fn committed(&self, commands: usize, took: Duration) {
        if commands > 0 {
            self.store_batch.observe(commands as f64);
        }
        self.store_commit_seconds.observe(took.as_secs_f64());
    }

    fn failed(&self) {
        self.store_failures.inc();
    }
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
