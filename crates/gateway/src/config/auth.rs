//! `[auth]`

use serde::{Deserialize, Serialize};

use super::api_keys::ConfiguredKey;
use super::auth_webhook::AuthWebhook;
use super::jwt::Jwt;
use super::secret::Secret;
use super::section::section;

section! {
    /// Which clients may connect, and which programs may call the API.
    pub struct Auth {
        /// How a client proves who it is. "open": it does not have to; use this for development only, or
        /// behind a program that authenticates clients. "jwt": by a signed token. "webhook": the backend is
        /// asked at every register.
        pub mode: Mode = Mode::Open;
        /// Keys for the HTTP API (/v1), besides those of `mynah api-key`. An entry is a key in plain text,
        /// which may be used for every call, or a digest such as "sha256:<64
        /// digits>;name=billing;scopes=send+read", whose name and scopes are optional. Use digests of random
        /// keys only, because a weak key can be guessed from its digest. If there is no key at all, the first
        /// start creates one and writes it to the file "api-key" in the data directory.
        pub api_keys: Vec<Secret> = Vec::new();
        /// Whether GET /metrics requires an API key, which must have the scope "metrics".
        pub metrics_key: bool = false;
        /// Tokens of clients, for mode "jwt".
        pub jwt: Jwt = Jwt::default();
        /// The backend's webhook that decides about registers, for mode "webhook".
        pub webhook: AuthWebhook = AuthWebhook::default();
    }
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It does not have to: the `uid` that it names is accepted.
    Open,
    /// By a signed token.
    Jwt,
    /// The backend is asked at every register.
    Webhook,
}

impl Auth {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        for (index, key) in self.api_keys.iter().enumerate() {
            if let Err(why) = ConfiguredKey::parse(key) {
                problems.push(format!("auth.api_keys: key number {} {why}", index + 1));
            }
        }
        self.jwt.check(problems);
        self.webhook.check(problems);
    }
}
