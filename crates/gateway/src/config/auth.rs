//! `[auth]`

use serde::{Deserialize, Serialize};

use super::api_keys::ConfiguredKey;
use super::auth_webhook::AuthWebhook;
use super::jwt::Jwt;
use super::secret::Secret;
use super::section::section;

section! {
    /// Who may connect, and who may call the API.
    pub struct Auth {
        /// How a client shows who it is. "open": it is believed (for development, and where something in front checks). "jwt": by a signed
        /// token. "webhook": the backend is asked at every register.
        pub mode: Mode = Mode::Open;
        /// Keys for the HTTP API (/v1), besides those of `mynah api-key`: as they are, for every call, or as digests such as
        /// "sha256:<64 digits>;name=billing;scopes=send+read" (name and scopes may be left out; of random keys only, others are found by
        /// trying). No key at all: one is made at the first start and kept in the data directory, file "api-key".
        pub api_keys: Vec<Secret> = Vec::new();
        /// Whether GET /metrics needs an API key too, one with the scope "metrics".
        pub metrics_key: bool = false;
        /// Tokens of clients, for mode "jwt".
        pub jwt: Jwt = Jwt::default();
        /// Who decides about registers in mode "webhook".
        pub webhook: AuthWebhook = AuthWebhook::default();
    }
}

/// How a client shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is believed.
    Open,
    /// By a signed token.
    Jwt,
    /// The backend says so.
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
