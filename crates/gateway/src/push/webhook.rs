//! The webhook: a signed POST for each notification (docs/PROTOCOL.md#9-push-webhook).

use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use axum::http::HeaderValue;
use serde::Serialize;
use serde_json::value::RawValue;

use super::provider::{Notification, Notified, Notifying, Provider};
use crate::clock;
use crate::config::Config;
use crate::ids::{ConvId, Mid, Seq, Uid};
use crate::metrics::Metrics;
use crate::outbound::{Failure, Outbound};
use crate::target::Target;
use crate::time::UnixMillis;

/// The maximum number of bytes that are read of a response. Only its status and `Retry-After` count.
const MAX_ANSWER_BYTES: usize = 16_384;

/// The body of a call.
#[derive(Serialize)]
struct Body<'a> {
    uid: &'a Uid,
    kind: u16,
    mid: Mid,
    conv: ConvId,
    seq: Seq,
    from: Option<&'a Uid>,
    unread: u64,
    data: &'a RawValue,
    ts: UnixMillis,
}

/// Whether another attempt would be answered in the same way: the receiver says that it cannot accept this
/// notification. Answers that depend on how the receiver is configured (401, 403, 404) are not final.
fn is_final(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Status(400 | 405 | 410 | 411 | 413..=415 | 422 | 431 | 501)
    )
}

/// The wait that a `Retry-After` asks for, in milliseconds. It is a number of seconds or a date (RFC 9110,
/// section 10.2.3).
fn wait_ms(value: &HeaderValue, now: UnixMillis) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let at = date.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Some(u64::try_from(at).ok()?.saturating_sub(now))
}

/// The provider that calls the webhook.
pub(crate) struct Webhook {
    outbound: Outbound,
    target: Target,
}

impl Webhook {
    /// The configured webhook; `None` if no URL is configured.
    pub(crate) fn new(config: &Config, metrics: &Metrics) -> anyhow::Result<Option<Self>> {
        let settings = &config.push.webhook;
        let Some(url) = &settings.url else {
            return Ok(None);
        };
        let timeout = Duration::from_millis(settings.timeout_ms);
        let outbound = Outbound::new(
            url,
            settings.secret.as_ref(),
            timeout,
            MAX_ANSWER_BYTES,
            config.outbound.ca_file.as_deref(),
        )
        .context("push.webhook cannot be used")?;
        Ok(Some(Self {
            outbound,
            target: Target::new("push.webhook", url, metrics),
        }))
    }

    async fn post(&self, Notification { uid, message, unread }: Notification<'_>) -> Notified {
        let body = serde_json::to_string(&Body {
            uid,
            kind: message.kind,
            mid: message.mid,
            conv: message.conv,
            seq: message.seq,
            from: message.from.as_ref(),
            unread,
            data: &message.data,
            ts: message.ts,
        })
        .unwrap_or_default(); // This cannot fail: the keys are strings, and `data` is raw JSON.
        let now = clock::unix_millis();
        let (failure, wait_ms) = match self.outbound.post(body, now).await {
            Ok(answer) if answer.status.is_success() => {
                self.target.worked();
                return Notified::Taken;
            }
            Ok(answer) => {
                let wait_ms = answer.retry_after.and_then(|value| wait_ms(&value, now));
                (Failure::Status(answer.status.as_u16()), wait_ms)
            }
            Err(failure) => (failure, None),
        };
        self.target.failed(&failure);
        tracing::debug!(error = %failure, mid = %message.mid, "a notification was not accepted");
        if is_final(&failure) {
            Notified::Gone
        } else {
            Notified::Retry(wait_ms.unwrap_or(0))
        }
    }
}

impl Provider for Webhook {
    fn notify<'a>(&'a self, notification: Notification<'a>) -> Notifying<'a> {
        Box::pin(self.post(notification))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_how_long_to_wait() {
        let now = 784_111_700_000;
        let wait = |text: &str| wait_ms(&HeaderValue::from_str(text).unwrap(), now);
        assert_eq!(wait("120"), Some(120_000));
        assert_eq!(wait("0"), Some(0));
        for wrong in ["99999999999999999999", "soon", "-1", ""] {
            assert_eq!(wait(wrong), None, "{wrong}");
        }
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(77_000));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "it is over");
    }

    #[test]
    fn a_receiver_that_is_set_up_wrongly_is_not_final() {
        let is_final = |status| is_final(&Failure::Status(status));
        assert!([400, 410, 413, 422].into_iter().all(is_final));
        assert!(
            ![302, 401, 403, 404, 408, 409, 425, 429, 500, 502, 503]
                .into_iter()
                .any(is_final)
        );
    }
}
