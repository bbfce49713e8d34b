//! Authentication of clients: none, by a signed token, or by the backend. This module knows neither
//! connections nor registrations.
//!
//! Invariants: a key verifies signatures of its own algorithm only, whatever the header of a token says;
//! claims are not used before the signature is verified; everything that is waited for (key sets, the
//! backend) is limited in time and in number.

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

/// The configured mode, with what it needs.
pub(crate) enum Auth {
    /// The `uid` that a client names is accepted.
    Open,
    /// Clients authenticate by a signed token.
    Jwt(Arc<Tokens>),
    /// The backend is asked about every register.
    Webhook(Arc<Backend>),
}

impl Auth {
    /// Opens the configured mode and reads its keys. The text of an error says which key of the configuration
    /// to set.
    pub(crate) fn open(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        Ok(match config.auth.mode {
            Mode::Open => Self::Open,
            Mode::Jwt if !config.auth.jwt.has_key() => bail!(
                "auth.mode is \"jwt\", but there is no key for verifying tokens: set auth.jwt.secret (HS256; MYNAH_AUTH__JWT__SECRET in the \
                 environment), auth.jwt.public_key_file (RS256, ES256, EdDSA), or auth.jwt.jwks_url"
            ),
            Mode::Jwt => Self::Jwt(Arc::new(Tokens::open(config, metrics)?)),
            Mode::Webhook => Self::Webhook(Arc::new(Backend::open(config, metrics)?)),
        })
    }

    /// Returns the issuer whose key set must be fetched while the gateway runs.
    pub(crate) fn issuer(&self) -> Option<&Arc<Issuer>> {
        match self {
            Self::Jwt(tokens) => tokens.issuer(),
            Self::Open | Self::Webhook(_) => None,
        }
    }
}

/// Returns an error if the gateway could not authenticate clients with this configuration.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    Auth::open(config, &Arc::default()).map(drop)
}
