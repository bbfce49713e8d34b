//! `[auth.jwt]`

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::secret::Secret;
use super::section::section;
use super::url;

/// Minimum number of bytes of a secret for HS256: the size of the hash (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

section! {
    /// Tokens of clients, for mode "jwt". The keys that are set decide which algorithms are accepted: each
    /// key has its own algorithm, and a token with any other one is refused. At least one key is needed.
    /// Several may be set, for example an old and a new one.
    pub struct Jwt {
        /// HS256: the secret, at least 32 bytes.
        pub secret: Option<Secret> = None;
        /// A file that holds the secret. A line break at its end is ignored.
        pub secret_file: Option<PathBuf> = None;
        /// RS256, ES256, EdDSA: public keys in PEM ("-----BEGIN PUBLIC KEY-----"), one after another. The
        /// type of a key decides its algorithm: RSA (2,048 bits or more), P-256, Ed25519.
        pub public_key: Option<String> = None;
        /// A file that holds the public keys.
        pub public_key_file: Option<PathBuf> = None;
        /// RS256, ES256, EdDSA: a file that holds the issuer's key set (JWKS). A token names its key in the
        /// set by `kid`. The file is read again at every refresh.
        pub jwks_file: Option<PathBuf> = None;
        /// The http or https URL of the key set.
        pub jwks_url: Option<String> = None;
        /// Interval at which the key set is refreshed. If a refresh fails, the last good key set is kept.
        pub jwks_refresh_ms: u64 = 600_000, in 1_000..=86_400_000;
        /// A token with an unknown `kid` causes a refresh at once, but not sooner than this time after the
        /// last one.
        pub jwks_cooldown_ms: u64 = 10_000, in 100..=3_600_000;
        /// Accepted audiences: `aud` of a token must contain one of them. If this is empty, tokens without
        /// `aud` are accepted, and tokens with one are refused.
        pub audience: Names = Names::default();
        /// Accepted issuers: `iss` of a token must be one of them. If this is empty, `iss` is not checked.
        pub issuer: Names = Names::default();
        /// How much the clock of the issuer may differ from that of the server when `exp`, `nbf` and `iat`
        /// are checked.
        pub leeway_ms: u64 = 1_000, in 0..=300_000;
    }
}

/// A list of names. In the file a single name needs no brackets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Names(pub Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a string or a list of strings")]
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
                "auth.jwt.secret must have at least {MIN_SECRET_BYTES} bytes, not {}; make one with: openssl rand -hex 32",
                secret.expose().len()
            ));
        }
        let (secret, secret_file) = (self.secret.is_some(), self.secret_file.is_some());
        let (key, key_file) = (self.public_key.is_some(), self.public_key_file.is_some());
        let (set_file, set_url) = (self.jwks_file.is_some(), self.jwks_url.is_some());
        for (one, other, is_twice) in [
            ("secret", "secret_file", secret && secret_file),
            ("public_key", "public_key_file", key && key_file),
            ("jwks_file", "jwks_url", set_file && set_url),
        ] {
            if is_twice {
                problems.push(format!(
                    "auth.jwt.{one} and auth.jwt.{other} must not both be set: leave one of them out"
                ));
            }
        }
        if let Some(url) = &self.jwks_url {
            url::check("auth.jwt.jwks_url", url, problems);
        }
        for (key, names) in [("audience", &self.audience), ("issuer", &self.issuer)] {
            if names.0.iter().any(String::is_empty) {
                problems.push(format!("auth.jwt.{key} must not contain an empty string"));
            }
        }
    }
}
