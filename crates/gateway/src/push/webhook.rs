//! The webhook: a signed POST for each notification (docs/PROTOCOL.md#9-push-webhook).

use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use axum::http::HeaderValue;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::Config;
use crate::ids::{ConvId, Mid, Seq, Uid};
use crate::metrics::Metrics;
use crate::outbound::{Failure, Outbound, Post};
use crate::store::Message;
use crate::target::Target;
use crate::time::UnixMillis;

/// What is read of an answer, of which only the status counts.
const MAX_ANSWER_BYTES: usize = 16_384;

/// What is posted.
#[derive(Serialize)]
struct Notification<'a> {
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

/// Why a notification was not accepted.
pub(super) struct Refused {
    pub(super) failure: Failure,
    /// How long the receiver asks us to wait before the next attempt, in milliseconds.
    pub(super) retry_after_ms: Option<u64>,
}

impl Refused {
    /// Whether another attempt would be answered in the same way: the receiver says that it cannot accept
    /// this notification. Answers that depend on how the receiver is configured (401, 403, 404) are not
    /// final.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self.failure,
            Failure::Status(400 | 405 | 410 | 411 | 413..=415 | 422 | 431 | 501)
        )
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            retry_after_ms: None,
        }
    }
}

/// The wait that a `Retry-After` asks for: so many seconds, or until a date (RFC 9110, section 10.2.3).
fn wait_ms(value: &HeaderValue, now: UnixMillis) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let at = date.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Some(u64::try_from(at).ok()?.saturating_sub(now))
}

/// Where notifications go.
pub(crate) struct Webhook {
    receiver: Box<dyn Post>,
    target: Target,
}

impl Webhook {
    /// As configured; `None` when no URL is.
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
        Ok(Some(Self::posting_to(Box::new(outbound), url, metrics)))
    }

    /// Posts to `receiver`, whose URL is `url`.
    pub(crate) fn posting_to(receiver: Box<dyn Post>, url: &str, metrics: &Metrics) -> Self {
        Self {
            receiver,
            target: Target::new("push.webhook", url, metrics),
        }
    }

    /// Posts one notification. `now` is the time of signing.
    pub(super) async fn notify(
        &self,
        uid: &Uid,
        message: &Message,
        unread: u64,
        now: UnixMillis,
    ) -> Result<(), Refused> {
        let body = serde_json::to_string(&Notification {
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
        .unwrap_or_default(); // string keys, raw JSON: it cannot fail
        let result = self.post(body, now).await;
        match &result {
            Ok(()) => self.target.worked(),
            Err(refused) => self.target.failed(&refused.failure),
        }
        result
    }

    async fn post(&self, body: String, now: UnixMillis) -> Result<(), Refused> {
        let answer = self.receiver.post(body, now).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(Refused {
            failure: Failure::Status(answer.status.as_u16()),
            retry_after_ms: answer.retry_after.and_then(|value| wait_ms(&value, now)),
        })
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
        let is_final = |status| Refused::from(Failure::Status(status)).is_final();
        assert!([400, 410, 413, 422].into_iter().all(is_final));
        assert!(
            ![302, 401, 403, 404, 408, 409, 425, 429, 500, 502, 503]
                .into_iter()
                .any(is_final)
        );
    }
}
