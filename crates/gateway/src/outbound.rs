//! HTTP calls of the gateway: to webhooks, and to the issuer of tokens.
//!
//! Invariants: each call is limited in time and in the size of its response; certificates are checked, and
//! redirects are not followed.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::http::request;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::hmac;

use crate::config::Secret;
use crate::text::hex;
use crate::time::UnixMillis;
use crate::trust::{cause, client_config};

/// The number of idle connections that are kept for later calls.
const IDLE_CONNECTIONS: usize = 16;

/// Why a call got no usable response. The text does not contain what was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The response has another status than expected.
    #[error("it answered {0}")]
    Status(u16),
    /// The connection failed.
    #[error("it could not be reached: {}", cause(.0))]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// The response did not arrive in time.
    #[error("it did not answer in time")]
    Timeout,
    /// The request could not be created.
    #[error("the request could not be written: {0}")]
    Request(#[from] hyper::http::Error),
    /// The response is too long, incomplete or invalid.
    #[error("its answer could not be read")]
    Unreadable,
}

/// The response to a call.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    /// The header `Retry-After`.
    pub(crate) retry_after: Option<HeaderValue>,
    /// `None` if the body is too long, incomplete or too late.
    pub(crate) body: Option<Bytes>,
}

/// A URL with everything that is needed to call it.
pub(crate) struct Outbound {
    url: Uri,
    /// The key that signs requests.
    signer: Option<hmac::Key>,
    timeout: Duration,
    /// The maximum size of a response in bytes.
    most: usize,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Outbound {
    /// Prepares calls of `url`, which are signed with `secret`. Each call may take `timeout`, and its
    /// response may have `most` bytes. The certificates in `ca_file` are trusted in addition to the usual
    /// ones.
    pub(crate) fn new(
        url: &str,
        secret: Option<&Secret>,
        timeout: Duration,
        most: usize,
        ca_file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let url: Uri = url.parse().context("the URL")?;
        // A target with an http URL needs no certificates.
        let ca_file = ca_file.filter(|_| url.scheme_str() == Some("https"));
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(timeout));
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(client_config(ca_file)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let signer = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()));
        Ok(Self {
            url,
            signer,
            timeout,
            most,
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .build(connector),
        })
    }

    /// How long a call may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Posts JSON. `now` is the time of the signature.
    pub(crate) async fn post(&self, body: String, now: UnixMillis) -> Result<Response, Failure> {
        let mut request = self
            .request(Method::POST)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(signer) = &self.signer {
            request = request.header("X-Mynah-Signature", signature(signer, now / 1_000, &body));
        }
        self.call(request.body(Full::new(Bytes::from(body)))?).await
    }

    /// Gets JSON.
    pub(crate) async fn get(&self) -> Result<Response, Failure> {
        let request = self
            .request(Method::GET)
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        self.call(request.body(Full::default())?).await
    }

    fn request(&self, method: Method) -> request::Builder {
        Request::builder().method(method).uri(self.url.clone()).header(
            USER_AGENT,
            HeaderValue::from_static(concat!("mynah/", env!("CARGO_PKG_VERSION"))),
        )
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Result<Response, Failure> {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let answer = tokio::time::timeout_at(deadline, self.client.request(request)).await;
        let answer = answer.map_err(|_| Failure::Timeout)??;
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER).cloned();
        // The body is read to its end, so that the connection can be used again. Otherwise it is closed.
        let rest = Limited::new(answer.into_body(), self.most).collect();
        let body = match tokio::time::timeout_at(deadline, rest).await {
            Ok(Ok(body)) => Some(body.to_bytes()),
            Ok(Err(_)) | Err(_) => None,
        };
        Ok(Response {
            status,
            retry_after,
            body,
        })
    }
}

/// The value of the signature header: `t=<unix seconds>,v1=<hex>`, where `v1` is the HMAC of `<t>.<body>`.
fn signature(signer: &hmac::Key, seconds: u64, body: &str) -> String {
    let signature = hmac::sign(signer, format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", hex(signature.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_time_and_body() {
        // printf '1790000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let signer = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let expected = "da8fe498621aaab99d5b11c51346b13d1a2bf2914b865b8d3edd3531cab25a3e";
        assert_eq!(
            signature(&signer, 1_790_000_000, r#"{"a":1}"#),
            format!("t=1790000000,v1={expected}")
        );
    }
}
