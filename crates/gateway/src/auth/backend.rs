//! Mode "webhook": the backend decides about each register.
//!
//! Invariants: a register waits at most the configured time, including the wait for a free call; the number
//! of calls in flight is bounded, and registers that wait are scheduled fairly between addresses, so that
//! those from one address do not delay those from others.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields::object;
use crate::claims::Claims;
use crate::clock;
use crate::config::Config;
use crate::fair::{Full, Slots, Turn};
use crate::ids::{self, DeviceId, Uid};
use crate::metrics::Metrics;
use crate::outbound::{Failure, Outbound};
use crate::reject::{Code, Reject};
use crate::target::Target;
use crate::text::without_mark;

/// Longest response body that is read.
const MAX_ANSWER_BYTES: usize = 65_536;
/// Longest reason that is passed on to the client.
const MAX_REASON_BYTES: usize = 300;

/// The request body.
#[derive(Serialize)]
pub(crate) struct Question<'a> {
    pub(crate) uid: Option<&'a Uid>,
    pub(crate) deviceid: Option<&'a DeviceId>,
    pub(crate) platform: Option<&'a str>,
    #[serde(rename = "type")]
    pub(crate) class: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) address: IpAddr,
    pub(crate) sid: &'a str,
}

/// The body of a 200 response. All fields are optional.
#[derive(Default, Deserialize)]
struct Agreed<'a> {
    #[serde(borrow)]
    uid: Option<&'a RawValue>,
    deviceid: Option<String>,
    platform: Option<String>,
    kinds: Option<Box<[u16]>>,
    expires_at: Option<u64>,
    ttl_ms: Option<u64>,
}

/// The body of a 401 or 403 response, in one of two usual forms.
#[derive(Deserialize)]
struct RefusalBody<'a> {
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
}

/// The backend that decides about registers.
pub(crate) struct Backend {
    outbound: Outbound,
    slots: Arc<Slots<IpAddr>>,
    target: Target,
    metrics: Arc<Metrics>,
}

impl Backend {
    pub(super) fn open(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let settings = &config.auth.webhook;
        let Some(url) = &settings.url else {
            bail!(
                "auth.mode is \"webhook\", but the webhook has no URL: set auth.webhook.url \
                 (MYNAH_AUTH__WEBHOOK__URL in the environment), and also auth.webhook.secret"
            );
        };
        let timeout = Duration::from_millis(settings.timeout_ms);
        Ok(Self {
            outbound: Outbound::new(
                url,
                settings.secret.as_ref(),
                timeout,
                MAX_ANSWER_BYTES,
                config.outbound.ca_file.as_deref(),
            )
            .context("auth.webhook cannot be used")?,
            slots: Slots::new(settings.concurrency, settings.waiting_per_address),
            target: Target::new("auth.webhook", url, metrics),
            metrics: metrics.clone(),
        })
    }

    /// Asks the backend about a register.
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<Box<Claims>, Reject> {
        let body = serde_json::to_string(question).unwrap_or_default(); // cannot fail: all keys are strings
        let begun = clock::now();
        let asked = async {
            let _slot = self.slots.take(place(question.address), Turn::Further, 1).await?;
            Ok::<_, Full>(self.outbound.post(body, clock::unix_millis()).await)
        };
        let answer = tokio::time::timeout(self.outbound.timeout(), asked).await;
        let seconds = clock::now().duration_since(begun).as_secs_f64();
        self.metrics.auth_webhook_seconds.observe(seconds);
        let decided = match answer {
            Ok(Err(Full)) => {
                let why = "Too many registers from your address wait for the backend; try again later.";
                return Err(self.metrics.over("waiting_per_address", Reject::unavailable(why)));
            }
            Err(_) => Err(Failure::Timeout),
            Ok(Ok(Err(failure))) => Err(failure),
            Ok(Ok(Ok(answer))) => match (answer.status.as_u16(), answer.body) {
                (200, Some(body)) => agreed(&body, question.uid),
                (401, body) => Ok(Err(refused(Code::Unauthenticated, body))),
                (403, body) => Ok(Err(refused(Code::Forbidden, body))),
                (200, None) => Err(Failure::Unreadable),
                (status, _) => Err(Failure::Status(status)),
            },
        };
        match &decided {
            Ok(_) => self.target.worked(),
            Err(failure) => {
                self.metrics.auth_webhook_failed.inc();
                self.target.failed(failure);
            }
        }
        decided.unwrap_or_else(|_| {
            Err(Reject::unavailable(
                "The backend that decides about registers did not give a valid response; try again later.",
            ))
        })
    }
}

/// Returns what counts as one address: an IPv4 address, or an IPv6 /64 network, because one machine can use
/// all addresses of such a network.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

/// Reads the body of a 200 response. The error means that it is invalid.
pub(super) fn agreed(body: &Bytes, asked: Option<&Uid>) -> Result<Result<Box<Claims>, Reject>, Failure> {
    let unreadable = |_| Failure::Unreadable;
    let text = std::str::from_utf8(body).map_err(|_| Failure::Unreadable)?;
    let agreed: Agreed<'_> = match without_mark(text).trim() {
        "" => Agreed::default(),
        object if object.starts_with('{') => serde_json::from_str(object).map_err(|_| Failure::Unreadable)?,
        _ => return Err(Failure::Unreadable),
    };
    let named = agreed.uid.map(|raw| {
        Uid::from_json(raw.get())
            .and_then(Result::ok)
            .ok_or(Failure::Unreadable)
    });
    let Some(sub) = named.transpose()?.or_else(|| asked.cloned()) else {
        return Ok(Err(Reject::malformed(
            "\"uid\" is missing, and the backend did not name a user.",
        )));
    };
    let device = agreed.deviceid.map(|text| DeviceId::new(&text)).transpose();
    let platform = agreed.platform.map(|text| ids::label(&text)).transpose();
    let (day, steady) = (clock::unix_millis(), clock::steady_millis());
    let claims = Claims {
        sub,
        device: device.map_err(unreadable)?,
        platform: platform.map_err(unreadable)?,
        kinds: agreed.kinds,
        exp: agreed.expires_at.unwrap_or(Claims::NEVER),
        ends: agreed
            .ttl_ms
            .map_or(Claims::NEVER, |ttl| steady.saturating_add(ttl)),
        iat: Some(day),
        jti: None,
    };
    if claims.left(day, steady) == 0 {
        let over = "The backend accepted this register only until a time in the past.";
        return Ok(Err(Reject::new(Code::Unauthenticated, over)));
    }
    Ok(Ok(Box::new(claims)))
}

/// Makes a reject from the body of a 401 or 403 response, with the backend's own sentence if there is one.
pub(super) fn refused(code: Code, body: Option<Bytes>) -> Reject {
    let reason = body.as_ref().and_then(|body| {
        let refused: RefusalBody<'_> = object(body)?;
        let reason: String = refused
            .error
            .or(refused.detail)?
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        Some(reason[..reason.floor_char_boundary(MAX_REASON_BYTES)].to_owned())
    });
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) => Reject::new(code, reason),
        None => Reject::new(code, "The backend refused the register."),
    }
}
