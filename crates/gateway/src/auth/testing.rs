//! Keys and tokens for the tests.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::auth::fields::Wrong;
use crate::auth::tokens::Tokens;
use crate::claims::Claims;
use crate::config::{Config, Jwt, Secret};

pub(super) const SECRET: &str = "a secret of at least thirty-two bytes";
/// The present time in the tests, in Unix milliseconds.
pub(super) const NOW: u64 = 1_790_000_000_500;

/// A key that signs tokens.
pub(super) trait Signer {
    fn algorithm(&self) -> &'static str;
    fn sign(&self, message: &[u8]) -> Vec<u8>;
}

pub(super) struct Hs256(pub(super) Vec<u8>);

impl Signer for Hs256 {
    fn algorithm(&self) -> &'static str {
        "HS256"
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        hmac::sign(&key, message).as_ref().to_vec()
    }
}

pub(super) fn secret() -> Hs256 {
    Hs256(SECRET.into())
}

pub(super) struct Ed(Ed25519KeyPair);

impl Ed {
    pub(super) fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("test data is valid");
        Self(Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("test data is valid"))
    }

    pub(super) fn pem(&self) -> String {
        pem("302a300506032b6570032100", self.0.public_key().as_ref())
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x, "use": "sig"})
    }
}

impl Signer for Ed {
    fn algorithm(&self) -> &'static str {
        "EdDSA"
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

pub(super) struct Es256(EcdsaKeyPair);

impl Es256 {
    pub(super) fn new() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("test data is valid");
        Self(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("test data is valid"))
    }

    pub(super) fn pem(&self) -> String {
        let prefix = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        pem(prefix, self.0.public_key().as_ref())
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let point = self.0.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..]),
        );
        json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y, "alg": "ES256"})
    }
}

impl Signer for Es256 {
    fn algorithm(&self) -> &'static str {
        "ES256"
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0
            .sign(&SystemRandom::new(), message)
            .expect("test data is valid")
            .as_ref()
            .to_vec()
    }
}

fn pem(prefix: &str, key: &[u8]) -> String {
    let digits = prefix.as_bytes().chunks(2);
    let mut der: Vec<u8> = digits
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).expect("test data is valid"), 16)
                .expect("test data is valid")
        })
        .collect();
    der.extend_from_slice(key);
    let text = STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

/// Returns a token with the given header and payload.
pub(super) fn raw_token(header: &str, payload: &str, signer: &dyn Signer) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Returns a token with these claims, and with a valid `sub` and `exp` unless the claims have their own.
pub(super) fn token(signer: &dyn Signer, claims: Value) -> String {
    token_of(signer, json!({}), claims)
}

/// The same with further fields in the header.
pub(super) fn token_of(signer: &dyn Signer, header: Value, claims: Value) -> String {
    let header = merged(json!({"alg": signer.algorithm(), "typ": "JWT"}), header);
    let claims = merged(json!({"sub": "alice", "exp": NOW / 1_000 + 60}), claims);
    raw_token(&header.to_string(), &claims.to_string(), signer)
}

fn merged(mut base: Value, more: Value) -> Value {
    for (name, value) in more.as_object().expect("test data is valid") {
        base[name] = value.clone();
    }
    base
}

pub(super) fn jwt(change: impl FnOnce(&mut Jwt)) -> Config {
    let mut config = Config::default();
    config.auth.mode = crate::config::Mode::Jwt;
    change(&mut config.auth.jwt);
    config
}

/// Returns a verifier with [`SECRET`].
pub(super) fn with_secret(change: impl FnOnce(&mut Jwt)) -> Tokens {
    tokens(&jwt(|jwt| {
        jwt.secret = Some(Secret::new(SECRET));
        change(jwt);
    }))
}

pub(super) fn tokens(config: &Config) -> Tokens {
    Tokens::open(config, &Arc::default()).expect("test data is valid")
}

/// Returns the claims of a token at [`NOW`]. Panics if its key is unknown.
pub(super) fn check(tokens: &Tokens, token: &str) -> Result<Claims, Wrong> {
    tokens
        .check(token, NOW)
        .map(|claims| claims.expect("its key is known"))
}

/// Returns why a token is refused.
#[track_caller]
pub(super) fn refusal(tokens: &Tokens, token: &str) -> Wrong {
    check(tokens, token).expect_err(token)
}
