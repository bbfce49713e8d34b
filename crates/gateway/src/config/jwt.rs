//! `[auth.jwt]`

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::secret::Secret;
use super::section::section;
use super::url;

/// Fewest bytes of a secret for HS256: as many as the hash has (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

section! {
    /// Tokens of clients, for mode "jwt". Which algorithms are accepted follows from the keys that are set: each key has its own, and a
    /// token of any other is refused. At least one key is needed; several may be set, old and new ones side by side.
    pub struct Jwt {
        /// HS256: the secret, at least 32 bytes.
        pub secret: Option<Secret> = None;
        /// The same from a file; a line break at its end does not belong to it.
        pub secret_file: Option<PathBuf> = None;
        /// RS256, ES256, EdDSA: public keys in PEM ("-----BEGIN PUBLIC KEY-----"), one after another. The algorithm is that of the key: RSA (2,048
        /// bits or more), P-256, Ed25519.
        pub public_key: Option<String> = None;
        /// The same from a file.
        pub public_key_file: Option<PathBuf> = None;
        /// RS256, ES256, EdDSA: the issuer's key set (JWKS), from which a token chooses by its `kid`. A file, read again when it is refreshed.
        pub jwks_file: Option<PathBuf> = None;
        /// The same from an http or https URL.
        pub jwks_url: Option<String> = None;
        /// How often the key set is fetched anew. The last good one stays when that fails.
        pub jwks_refresh_ms: u64 = 600_000, in 1_000..=86_400_000;
        /// A token with an unknown `kid` has the key set fetched at once, but not sooner than this after the last time.
        pub jwks_cooldown_ms: u64 = 10_000, in 100..=3_600_000;
        /// Whom tokens must be meant for: one of these stands in `aud`. None: tokens without `aud` are accepted, those with one are refused.
        pub audience: Names = Names::default();
        /// Who must have issued them: `iss` is one of these. None: `iss` is not looked at.
        pub issuer: Names = Names::default();
        /// How far the issuer's clock may be off: added to `exp`, allowed to `nbf`.
        pub leeway_ms: u64 = 1_000, in 0..=300_000;
    }
}

/// A list of names; in the file a single one may stand without brackets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Names(pub Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a text or a list of texts")]
        enum Written {
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::One(name) => vec![name],
            Written::Many(names) => names,
        }))
    }
}

impl Jwt {
    /// Whether any key is set.
    pub fn has_key(&self) -> bool {
        self.secret.is_some()
            || self.secret_file.is_some()
            || self.public_key.is_some()
            || self.public_key_file.is_some()
            || self.jwks_file.is_some()
            || self.jwks_url.is_some()
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if let Some(secret) = &self.secret
            && secret.expose().len() < MIN_SECRET_BYTES
        {
            problems.push(format!(
                "auth.jwt.secret must have at least {MIN_SECRET_BYTES} bytes, it has {}; make one with: openssl rand -hex 32",
                secret.expose().len()
            ));
        }
        for (one, other, is_twice) in [
            (
                "secret",
                "secret_file",
                self.secret.is_some() && self.secret_file.is_some(),
            ),
            (
                "public_key",
                "public_key_file",
                self.public_key.is_some() && self.public_key_file.is_some(),
            ),
            (
                "jwks_file",
                "jwks_url",
                self.jwks_file.is_some() && self.jwks_url.is_some(),
            ),
        ] {
            if is_twice {
                problems.push(format!(
                    "auth.jwt.{one} and auth.jwt.{other} say the same: leave one of them out"
                ));
            }
        }
        if let Some(url) = &self.jwks_url {
            url::check("auth.jwt.jwks_url", url, problems);
        }
        for (key, names) in [("audience", &self.audience), ("issuer", &self.issuer)] {
            if names.0.iter().any(String::is_empty) {
                problems.push(format!("auth.jwt.{key} must not hold an empty text"));
            }
        }
    }
}
