//! Tokens of clients: JSON Web Tokens (RFC 7519) in their compact form, checked as RFC 8725 has it.

use std::sync::Arc;

use super::algorithm::Algorithm;
use super::configured::own_keys;
use super::fields::{self, Header, Parts, Rules, Wrong, decoded};
use super::issuer::Issuer;
use super::keys::Key;
use crate::claims::Claims;
use crate::clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::reject::{Code, Reject};

/// Why a token of more than `limits.token_bytes` is refused.
pub(crate) const TOO_LONG: &str = "The token is longer than limits.token_bytes allows.";

/// What checks tokens.
pub(crate) struct Tokens {
    /// Configured; they have no names, and are tried on every token of their algorithm.
    own: Vec<Key>,
    /// Has the rest, by name.
    issuer: Option<Arc<Issuer>>,
    rules: Rules,
    most_bytes: usize,
}

/// What became of a token.
pub(crate) enum Verified {
    /// It is genuine and says this.
    Yes(Box<Claims>),
    /// It is worth nothing.
    No(Reject),
    /// It names a key that the issuer may have by now: ask again by [`Tokens::verify_patiently`].
    KeyUnknown,
}

enum Checked {
    Genuine,
    KeyUnknown,
}

impl Tokens {
    pub(super) fn open(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let jwt = &config.auth.jwt;
        Ok(Self {
            own: own_keys(jwt)?,
            issuer: Issuer::open(jwt, config.outbound.ca_file.as_deref(), metrics)?.map(Arc::new),
            rules: Rules {
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

    /// Checks a token at once.
    pub(crate) fn verify(&self, token: &str) -> Verified {
        match self.check(token, clock::unix_millis()) {
            Ok(Some(claims)) => Verified::Yes(Box::new(claims)),
            Ok(None) => Verified::KeyUnknown,
            Err(wrong) => Verified::No(refused(wrong)),
        }
    }

    /// Checks a token; for one with a key unknown so far the issuer is asked, unless that was done a moment ago.
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
                    "The issuer's keys could not be had yet, so no token can be checked; try again later.",
                ))
            }
            Verified::KeyUnknown => Err(refused("The token's \"kid\" names no key of the issuer.")),
        }
    }

    /// What the token says; `None` when its key may be one that the issuer has published since.
    pub(super) fn check(&self, token: &str, now: u64) -> Result<Option<Claims>, Wrong> {
        if token.len() > self.most_bytes {
            return Err(TOO_LONG);
        }
        let parts = Parts::of(token)?;
        let header = Header::read(&decoded(parts.header)?)?;
        let signature = decoded(parts.signature)?;
        match self.check_signature(&header, parts.message.as_bytes(), &signature)? {
            Checked::Genuine => fields::claims(&decoded(parts.payload)?, &self.rules, now).map(Some),
            Checked::KeyUnknown => Ok(None),
        }
    }

    fn check_signature(&self, header: &Header, message: &[u8], signature: &[u8]) -> Result<Checked, Wrong> {
        let fits = |key: &&Key| key.algorithm == header.algorithm;
        let genuine = |key: &Key| key.verifies(message, signature);
        let mut tried = false;
        for key in self.own.iter().filter(fits) {
            tried = true;
            if genuine(key) {
                return Ok(Checked::Genuine);
            }
        }
        // A key set has no secrets.
        if let Some(issuer) = self
            .issuer
            .as_ref()
            .filter(|_| header.algorithm != Algorithm::Hs256)
        {
            let Some(keys) = issuer.keys() else {
                return Ok(Checked::KeyUnknown);
            };
            let named = |key: &&Key| key.kid.is_some() && key.kid == header.kid;
            let mut found = keys.iter().filter(fits);
            let key = match &header.kid {
                Some(_) if keys.iter().any(|key| named(&key)) => found.find(named),
                Some(_) => return Ok(Checked::KeyUnknown),
                // Without a name there must be no choice.
                None => found.next().filter(|_| found.next().is_none()),
            };
            tried |= key.is_some();
            if key.is_some_and(genuine) {
                return Ok(Checked::Genuine);
            }
        }
        Err(if tried {
            "The token's signature is wrong."
        } else {
            "The token's \"alg\" and \"kid\" fit none of the keys that tokens are checked with here."
        })
    }

    /// What tokens may be signed with, for whoever starts the program.
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
