//! The state of a server to which the gateway sends requests, for the operator: whether it works, or since
//! when it fails.
//!
//! Invariants: a target logs at most one line a minute about failures, however often calls fail; a line never
//! contains the query of the URL, which may hold a secret, or anything that was sent.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use axum::http::Uri;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use crate::clock;
use crate::metrics::{Metrics, TargetLabel};

/// Shortest time between two lines about failures.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// A server to which requests are sent.
pub(crate) struct Target {
    /// The purpose of the calls, as part of a sentence: "the push webhook".
    purpose: &'static str,
    /// Scheme, host, port and path.
    url: Arc<str>,
    failures: Counter,
    state: Mutex<TargetState>,
}

#[derive(Default)]
struct TargetState {
    /// When the first of the latest failures happened, in Unix milliseconds; `None` while it works.
    failing_since: Option<u64>,
    /// Whether these failures were logged.
    told: bool,
    /// When a failure was last logged.
    line_at: Option<Instant>,
}

impl Target {
    /// Creates the target for requests to `url`, which are sent for `purpose`.
    pub(crate) fn new(purpose: &'static str, url: &str, metrics: &Metrics) -> Self {
        let url: Arc<str> = shown(url).into();
        let label = TargetLabel { target: url.clone() };
        Self {
            purpose,
            failures: metrics.target_failures.get_or_create(&label).clone(),
            url,
            state: Mutex::default(),
        }
    }

    /// A request failed, for this reason.
    pub(crate) fn failed(&self, why: &impl Display) {
        self.failures.inc();
        let now = clock::now();
        let since = {
            let mut state = self.state.lock();
            let since = *state.failing_since.get_or_insert_with(clock::unix_millis);
            if state
                .line_at
                .is_some_and(|at| now.saturating_duration_since(at) < BETWEEN_LINES)
            {
                return;
            }
            state.told = true;
            state.line_at = Some(now);
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(since))
        };
        let Self { purpose, url, .. } = self;
        tracing::warn!("a call of {purpose} at {url} failed: {why}; it has been failing since {since}");
    }

    /// A request succeeded.
    pub(crate) fn worked(&self) {
        let told = {
            let mut state = self.state.lock();
            state.failing_since = None;
            std::mem::take(&mut state.told)
        };
        if told {
            tracing::info!("{} at {} works again", self.purpose, self.url);
        }
    }
}

/// Returns scheme, host, port and path of a URL.
fn shown(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else {
        // This cannot happen, because the URLs in the configuration were checked.
        return "an unreadable URL".to_owned();
    };
    let scheme = uri.scheme_str().unwrap_or("http");
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    format!(
        "{scheme}://{}:{port}{}",
        uri.host().unwrap_or_default(),
        uri.path()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_query() {
        for (url, seen) in [
            (
                "https://push.example/a/b?token=secret",
                "https://push.example:443/a/b",
            ),
            ("http://[::1]:8080?key=secret", "http://[::1]:8080/"),
            ("http://127.0.0.1", "http://127.0.0.1:80/"),
        ] {
            assert_eq!(shown(url), seen);
        }
    }

    /// Returns whether the next failure is logged.
    fn tells(target: &Target) -> bool {
        let before = target.state.lock().line_at;
        target.failed(&"it answered 500");
        target.state.lock().line_at != before
    }

    #[tokio::test(start_paused = true)]
    async fn writes_one_line_a_minute_and_one_when_it_works_again() {
        let metrics = Metrics::new();
        let target = Target::new("the push webhook", "http://127.0.0.1:9/push?key=secret", &metrics);
        target.worked();
        assert!(tells(&target), "at once");
        let since = target.state.lock().failing_since;
        assert!(!tells(&target) && !tells(&target));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!tells(&target));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(tells(&target));
        assert_eq!(
            target.state.lock().failing_since,
            since,
            "since the first failure"
        );
        target.worked();
        assert!(
            !target.state.lock().told,
            "the line about its return is written once"
        );
        assert!(!tells(&target), "one that fails now and then fills no log");
        let text = metrics.prometheus_text();
        assert!(
            text.contains("mynah_target_failures_total{target=\"http://127.0.0.1:9/push\"} 6\n"),
            "{text}"
        );
    }
}
