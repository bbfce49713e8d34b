//! The webhook: a signed POST for each notification (PROTOCOL section 7).

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config;
use crate::ids::{ConvId, Mid, Seq, Uid};
use crate::outbound::{Failure, Outbound};
use crate::store::{Message, UnixMillis};

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

/// Where notifications go.
pub(crate) struct Webhook {
    outbound: Outbound,
    /// Takes the place of the network.
    #[cfg(test)]
    stand_in: Option<StandIn>,
}

/// A receiver in the same process: of what is posted to the status that it answers, if it ever does.
#[cfg(test)]
pub(crate) type StandIn =
    std::sync::Arc<dyn Fn(String) -> std::pin::Pin<Box<dyn Future<Output = u16> + Send>> + Send + Sync>;

impl Webhook {
    /// As configured; `None` when no URL is.
    pub(crate) fn new(settings: &config::Webhook) -> anyhow::Result<Option<Self>> {
        let Some(url) = &settings.url else {
            return Ok(None);
        };
        let timeout = Duration::from_millis(settings.timeout_ms);
        let outbound = Outbound::new(url, settings.secret.as_ref(), timeout, MAX_ANSWER_BYTES)
            .context("push.webhook cannot be used")?;
        Ok(Some(Self {
            outbound,
            #[cfg(test)]
            stand_in: None,
        }))
    }

    /// Posts to `receiver` instead.
    #[cfg(test)]
    pub(crate) fn posting_to(self, receiver: Option<StandIn>) -> Self {
        Self {
            stand_in: receiver,
            ..self
        }
    }

    /// Posts one notification. `now` is the time of signing.
    pub(crate) async fn notify(
        &self,
        uid: &Uid,
        message: &Message,
        unread: u64,
        now: UnixMillis,
    ) -> Result<(), Failure> {
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
        #[cfg(test)]
        if let Some(receiver) = &self.stand_in {
            let status = tokio::time::timeout(self.outbound.timeout(), receiver(body)).await;
            return match status.map_err(|_| Failure::Timeout)? {
                200..300 => Ok(()),
                status => Err(Failure::Status(status)),
            };
        }
        match self.outbound.post(body, now).await?.status {
            status if status.is_success() => Ok(()),
            status => Err(Failure::Status(status.as_u16())),
        }
    }
}
