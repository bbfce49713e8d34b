//! Creating tokens, for development and for backends that have no library for it.

use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::Serialize;

use super::configured;
use crate::clock;
use crate::config::Jwt;
use crate::ids::{DeviceId, Uid};
use crate::random;

/// The content of a new token.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The user to whom the token belongs.
    pub uid: Uid,
    /// The only device that may use the token.
    pub device: Option<DeviceId>,
    /// The only platform that may use the token.
    pub platform: Option<Box<str>>,
    /// The only kinds that may be sent with the token.
    pub kinds: Option<Vec<u16>>,
    /// How long the token is valid.
    pub ttl: Duration,
}

#[derive(Serialize)]
struct Payload<'a> {
    sub: &'a Uid,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    iat: u64,
    exp: u64,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kinds: Option<&'a [u16]>,
}

impl NewToken {
    /// Signs the token with the configured secret (HS256), for the first configured audience and issuer.
    pub fn sign(&self, jwt: &Jwt) -> anyhow::Result<String> {
        let Some(secret) = configured::secret(jwt)? else {
            bail!(
                "there is no secret for signing: set auth.jwt.secret or auth.jwt.secret_file (MYNAH_AUTH__JWT__SECRET in the environment)"
            );
        };
        let now = clock::unix_millis() / 1_000;
        let mut id = [0; 16];
        random::fill(&mut id).context("the operating system does not provide random numbers")?;
        let payload = Payload {
            sub: &self.uid,
            aud: jwt.audience.0.first().map(String::as_str),
            iss: jwt.issuer.0.first().map(String::as_str),
            iat: now,
            exp: now.saturating_add(self.ttl.as_secs()),
            jti: URL_SAFE_NO_PAD.encode(id),
            device: self.device.as_ref(),
            platform: self.platform.as_deref(),
            kinds: self.kinds.as_deref(),
        };
        let mut token = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_string(&payload)?, &mut token);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let signature = hmac::sign(&key, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}
