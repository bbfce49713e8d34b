//! The webhook: a signed POST for each notification (PROTOCOL section 7).

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::Sha256;

use crate::config;
use crate::ids::{ConvId, Mid, Seq, Uid};
use crate::store::{Message, UnixMillis};

/// Idle connections that are kept for the next notification.
const IDLE_CONNECTIONS: usize = 16;
/// What is read of an answer.
const MAX_ANSWER_BYTES: usize = 16_384;

/// Why a notification was not taken. Says nothing of its content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The receiver answered something else than 2xx.
    #[error("the webhook answered {0}")]
    Status(u16),
    /// No connection, or it broke.
    #[error("the webhook was not reached: {0}")]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// No answer in time.
    #[error("the webhook did not answer in time")]
    Timeout,
    /// Not even begun.
    #[error("the notification could not be written: {0}")]
    Request(#[from] hyper::http::Error),
}

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
    url: Uri,
    /// Keyed with the secret.
    signer: Option<Hmac<Sha256>>,
    timeout: Duration,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
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
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(timeout));
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let signer = settings
            .secret
            .as_ref()
            .map(|secret| Hmac::new_from_slice(secret.expose().as_bytes()))
            .transpose()
            .context("push.webhook.secret")?;
        Ok(Some(Self {
            url: url.parse().context("push.webhook.url")?,
            signer,
            timeout,
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .build(connector),
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
            let status = tokio::time::timeout(self.timeout, receiver(body)).await;
            return match status.map_err(|_| Failure::Timeout)? {
                200..300 => Ok(()),
                status => Err(Failure::Status(status)),
            };
        }
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(
                USER_AGENT,
                HeaderValue::from_static(concat!("mynah/", env!("CARGO_PKG_VERSION"))),
            );
        if let Some(signer) = &self.signer {
            request = request.header("X-Mynah-Signature", signature(signer.clone(), now / 1_000, &body));
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let deadline = tokio::time::Instant::now() + self.timeout;
        let answer = tokio::time::timeout_at(deadline, self.client.request(request)).await;
        let answer = answer.map_err(|_| Failure::Timeout)??;
        let status = answer.status();
        // Only the status counts. A short rest is read so that the connection can be used again; else it is closed.
        let rest = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect();
        let _ = tokio::time::timeout_at(deadline, rest).await;
        match status {
            status if status.is_success() => Ok(()),
            status => Err(Failure::Status(status.as_u16())),
        }
    }
}

/// `t=<unix seconds>,v1=<hex>` over `<t>.<body>`.
fn signature(mut signer: Hmac<Sha256>, seconds: u64, body: &str) -> String {
    signer.update(seconds.to_string().as_bytes());
    signer.update(b".");
    signer.update(body.as_bytes());
    let mut text = format!("t={seconds},v1=");
    for byte in signer.finalize().into_bytes() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_time_and_body() {
        // printf '1790000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let signer = Hmac::new_from_slice(b"secret").unwrap();
        let expected = "da8fe498621aaab99d5b11c51346b13d1a2bf2914b865b8d3edd3531cab25a3e";
        assert_eq!(
            signature(signer, 1_790_000_000, r#"{"a":1}"#),
            format!("t=1790000000,v1={expected}")
        );
    }
}
