//! Who clients are: believed, proved by a token, or decided by the backend. Knows neither connections nor what registering does.
//!
//! Invariants: a key verifies signatures of its own algorithm and of no other, whatever a token says of itself; nothing of a token is
//! believed before its signature; whatever is waited for (key sets, the backend) is bounded in time and in number.

mod algorithm;
mod backend;
mod configured;
mod fields;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod issuer;
mod keys;
mod make;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), allow(dead_code))]
mod testing;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::Arc;

use anyhow::bail;

pub(crate) use backend::{Backend, Question};
pub(crate) use issuer::Issuer;
pub use make::NewToken;
pub(crate) use tokens::{TOO_LONG, Tokens, Verified};

use crate::config::{Config, Mode};
use crate::metrics::Metrics;

/// What the configured mode needs.
pub(crate) enum Auth {
    /// A client is who it says.
    Open,
    /// A client shows a token.
    Jwt(Arc<Tokens>),
    /// The backend is asked.
    Webhook(Arc<Backend>),
}

impl Auth {
    /// As configured. Reads the keys; the sentence of an error says what to set.
    pub(crate) fn open(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        Ok(match config.auth.mode {
            Mode::Open => Self::Open,
            Mode::Jwt if !config.auth.jwt.has_key() => bail!(
                "auth.mode is \"jwt\" and there is no key to check tokens with: set auth.jwt.secret (HS256; MYNAH_AUTH__JWT__SECRET in the \
                 environment), auth.jwt.public_key_file (RS256, ES256, EdDSA), or auth.jwt.jwks_url"
            ),
            Mode::Jwt => Self::Jwt(Arc::new(Tokens::open(config, metrics)?)),
            Mode::Webhook => Self::Webhook(Arc::new(Backend::open(config, metrics)?)),
        })
    }

    /// The issuer whose key set is to be fetched while the gateway runs.
    pub(crate) fn issuer(&self) -> Option<&Arc<Issuer>> {
        match self {
            Self::Jwt(tokens) => tokens.issuer(),
            Self::Open | Self::Webhook(_) => None,
        }
    }
}

/// Why a gateway with this configuration could not tell clients apart.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    Auth::open(config, &Arc::default()).map(drop)
}
