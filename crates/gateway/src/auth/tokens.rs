//! Tokens of clients: JSON Web Tokens (RFC 7519) in compact form, checked according to RFC 8725.

use std::sync::Arc;

use super::algorithm::Algorithm;
use super::configured::own_keys;
use super::fields::{self, Header, TokenParts, TokenRules, Wrong, decoded};
use super::issuer::Issuer;
use super::keys::TokenKey;
use crate::claims::Claims;
use crate::clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::reject::{Code, Reject};

/// The error for a token that is longer than `limits.token_bytes`.
pub(crate) const TOO_LONG: &str = "The token is longer than limits.token_bytes allows.";

/// The verifier of tokens.
pub(crate) struct Tokens {
    /// The configured keys. They have no names: each is tried on every token of its algorithm.
    own: Vec<TokenKey>,
    /// The issuer, whose keys are found by name.
    issuer: Option<Arc<Issuer>>,
    rules: TokenRules,
    most_bytes: usize,
}

/// The result of verifying a token.
pub(crate) enum Verified {
    /// The token is valid and has these claims.
    Yes(Box<Claims>),
    /// The token is invalid.
    No(Reject),
    /// The token names an unknown key, which the issuer may have published since: call
    /// [`Tokens::verify_patiently`].
    KeyUnknown,
}

impl Tokens {
    pub(super) fn open(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let jwt = &config.auth.jwt;
        Ok(Self {
            own: own_keys(jwt)?,
            issuer: Issuer::open(jwt, config.outbound.ca_file.as_deref(), metrics)?.map(Arc::new),
            rules: TokenRules {
                audience: jwt.audience.0.clone(),
                issuer: jwt.issuer.0.clone(),
                leeway_ms: jwt.leeway_ms,
            },
            most_bytes: config.limits.token_bytes,
        })
    }

    pub(super) fn issuer(&self) -> Option<&Arc<Issuer>> {
        self.issuer.as_ref()
    }

    /// Verifies a token without waiting.
    pub(crate) fn verify(&self, token: &str) -> Verified {
        match self.check(token, clock::unix_millis()) {
            Ok(Some(claims)) => Verified::Yes(Box::new(claims)),
            Ok(None) => Verified::KeyUnknown,
            Err(wrong) => Verified::No(refused(wrong)),
        }
    }

    /// Verifies a token. If its key is unknown, the key set is fetched first, unless that was done within the
    /// cooldown.
    pub(crate) async fn verify_patiently(&self, token: &str) -> Result<Box<Claims>, Reject> {
        let mut verified = self.verify(token);
        if let (Verified::KeyUnknown, Some(issuer)) = (&verified, &self.issuer) {
            issuer.ask().await;
            verified = self.verify(token);
        }
        match verified {
            Verified::Yes(claims) => Ok(claims),
            Verified::No(reject) => Err(reject),
            Verified::KeyUnknown if self.issuer.as_ref().is_some_and(|issuer| issuer.keys().is_none()) => {
                Err(Reject::unavailable(
                    "The issuer's keys are not available yet, so tokens cannot be verified; try again later.",
                ))
            }
            Verified::KeyUnknown => Err(refused("The token's \"kid\" is not in the issuer's key set.")),
        }
    }

    /// Verifies a token at the time `now`, in Unix milliseconds. `None` means that its key is unknown.
    pub(super) fn check(&self, token: &str, now: u64) -> Result<Option<Claims>, Wrong> {
        if token.len() > self.most_bytes {
            return Err(TOO_LONG);
        }
        let parts = TokenParts::of(token)?;
        let header = Header::read(&decoded(parts.header)?)?;
        let signature = decoded(parts.signature)?;
        if !self.check_signature(&header, parts.message.as_bytes(), &signature)? {
            return Ok(None);
        }
        fields::claims(&decoded(parts.payload)?, &self.rules, now).map(Some)
    }

    /// Verifies a signature; false if its key is unknown.
    fn check_signature(&self, header: &Header, message: &[u8], signature: &[u8]) -> Result<bool, Wrong> {
        let fits = |key: &&TokenKey| key.algorithm == header.algorithm;
        let genuine = |key: &TokenKey| key.verifies(message, signature);
        let mut tried = false;
        for key in self.own.iter().filter(fits) {
            tried = true;
            if genuine(key) {
                return Ok(true);
            }
        }
        // A key set contains no secrets.
        if let Some(issuer) = self
            .issuer
            .as_ref()
            .filter(|_| header.algorithm != Algorithm::Hs256)
        {
            let Some(keys) = issuer.keys() else {
                return Ok(false);
            };
            let named = |key: &&TokenKey| key.kid.is_some() && key.kid == header.kid;
            let mut found = keys.iter().filter(fits);
            let key = match &header.kid {
                Some(_) if keys.iter().any(|key| named(&key)) => found.find(named),
                Some(_) => return Ok(false),
                // A token without `kid` is verified only if the key set has exactly one key of its algorithm.
                None => found.next().filter(|_| found.next().is_none()),
            };
            tried |= key.is_some();
            if key.is_some_and(genuine) {
                return Ok(true);
            }
        }
        Err(if tried {
            "The token's signature is invalid."
        } else {
            "The token's \"alg\" and \"kid\" do not match any key of this server."
        })
    }

    /// Returns the names of the accepted algorithms, for the message at the start of the program.
    pub(crate) fn accepted(&self) -> String {
        let own = |algorithm: &Algorithm| self.own.iter().any(|key| key.algorithm == *algorithm);
        let mut names: Vec<&str> = Algorithm::ALL
            .into_iter()
            .filter(own)
            .map(Algorithm::name)
            .collect();
        if self.issuer.is_some() {
            names.push("the issuer's key set");
        }
        names.join(", ")
    }
}

fn refused(wrong: Wrong) -> Reject {
    Reject::new(Code::Unauthenticated, wrong)
}
