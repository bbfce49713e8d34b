//! Changes of the issuer's key set.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::auth::testing::*;
use crate::auth::tokens::Tokens;
use crate::clock::pretended::{Pretence, pretend};
use crate::config::Jwt;
use crate::metrics::Metrics;
use crate::reject::{Code, Reject};

/// The verifier of an issuer whose key set is a file.
struct Kit {
    tokens: Arc<Tokens>,
    metrics: Arc<Metrics>,
    path: PathBuf,
    _dir: TempDir,
    _pretence: Pretence,
}

const COOLDOWN_MS: u64 = 10_000;

fn kit(keys: Value) -> Kit {
    let pretence = pretend(|| NOW);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let mut kit = Kit {
        tokens: Arc::new(with_secret(|_| {})),
        metrics: Arc::default(),
        path: path.clone(),
        _dir: dir,
        _pretence: pretence,
    };
    kit.publish(keys);
    kit.open(|jwt| jwt.jwks_file = Some(path));
    kit
}

impl Kit {
    fn open(&mut self, change: impl FnOnce(&mut Jwt)) {
        let config = jwt(|jwt| {
            jwt.jwks_cooldown_ms = COOLDOWN_MS;
            change(jwt);
        });
        self.tokens = Arc::new(Tokens::open(&config, &self.metrics).unwrap());
        tokio::spawn(self.tokens.issuer().unwrap().clone().run());
    }

    fn publish(&self, keys: Value) {
        std::fs::write(&self.path, json!({"keys": keys}).to_string()).unwrap();
    }

    async fn ask(&self, signer: &dyn Signer, kid: &str) -> Result<(), Reject> {
        let token = token_of(signer, json!({"kid": kid}), json!({}));
        self.tokens.verify_patiently(&token).await.map(drop)
    }

    async fn refused(&self, signer: &dyn Signer, kid: &str) -> Reject {
        self.ask(signer, kid).await.unwrap_err()
    }

    fn fetched(&self) -> (u64, u64) {
        (self.metrics.jwks_fetched.get(), self.metrics.jwks_failed.get())
    }
}

async fn past_the_cooldown() {
    tokio::time::advance(Duration::from_millis(COOLDOWN_MS)).await;
}

#[tokio::test(start_paused = true)]
async fn the_kid_of_a_token_selects_its_key() {
    let (one, other, es) = (Ed::new(), Ed::new(), Es256::new());
    let kit = kit(json!([one.jwk("1"), other.jwk("2"), es.jwk("2"), es.jwk("3")]));
    for (signer, kid) in [(&one as &dyn Signer, "1"), (&other, "2"), (&es, "2"), (&es, "3")] {
        assert!(kit.ask(signer, kid).await.is_ok(), "{kid}");
    }
    for (signer, kid) in [(&one as &dyn Signer, "2"), (&other, "1"), (&es, "1"), (&one, "3")] {
        assert_eq!(
            kit.refused(signer, kid).await.code,
            Code::Unauthenticated,
            "{kid}"
        );
    }
    let nameless = |signer: &dyn Signer| token(signer, json!({}));
    assert!(
        kit.tokens.verify_patiently(&nameless(&one)).await.is_err(),
        "there is a choice"
    );
    kit.publish(json!([one.jwk("1"), es.jwk("3")]));
    past_the_cooldown().await;
    kit.refused(&one, "new").await;
    assert!(kit.tokens.verify_patiently(&nameless(&one)).await.is_ok());
    // A key set contains no secrets, so that its keys are not tried for HS256.
    assert!(
        kit.refused(&Hs256(b"1".to_vec()), "1")
            .await
            .error
            .contains("\"alg\"")
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_causes_a_fetch_but_not_within_the_cooldown() {
    let (old, new) = (Ed::new(), Ed::new());
    let kit = kit(json!([old.jwk("old")]));
    kit.publish(json!([new.jwk("new")]));
    assert!(kit.refused(&new, "new").await.error.contains("\"kid\""));
    assert_eq!(kit.fetched(), (0, 0), "the cooldown has not ended");
    past_the_cooldown().await;
    let forged = (0..100).map(|n| {
        let token = token_of(&new, json!({"kid": format!("forged {n}")}), json!({}));
        let tokens = kit.tokens.clone();
        async move { tokens.verify_patiently(&token).await.is_err() }
    });
    let refused = forged.collect::<tokio::task::JoinSet<_>>().join_all().await;
    assert!(refused.into_iter().all(|refused| refused));
    assert_eq!(kit.fetched(), (1, 0));
    assert!(kit.ask(&new, "new").await.is_ok());
    kit.refused(&old, "old").await;
    assert_eq!(kit.fetched(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_keeps_the_last_good_set() {
    let key = Ed::new();
    let kit = kit(json!([key.jwk("1")]));
    std::fs::write(&kit.path, "<html>").unwrap();
    past_the_cooldown().await;
    kit.refused(&key, "2").await;
    assert_eq!(kit.fetched(), (0, 1));
    assert!(kit.ask(&key, "1").await.is_ok());
    std::fs::remove_file(&kit.path).unwrap();
    past_the_cooldown().await;
    kit.refused(&key, "2").await;
    assert!(kit.ask(&key, "1").await.is_ok());
    // An empty key set is a mistake: an issuer that revokes a key publishes another one.
    for useless in [
        json!([]),
        json!([{"kty": "oct", "k": "c2VjcmV0", "kid": "1"}]),
        json!([5]),
    ] {
        kit.publish(useless.clone());
        past_the_cooldown().await;
        kit.refused(&key, "2").await;
        assert!(kit.ask(&key, "1").await.is_ok(), "{useless}");
    }
    assert_eq!(kit.fetched(), (0, 5));
    kit.publish(json!([Ed::new().jwk("3")]));
    past_the_cooldown().await;
    kit.refused(&key, "2").await;
    assert_eq!(kit.fetched(), (1, 5));
    assert_eq!(
        kit.refused(&key, "1").await.code,
        Code::Unauthenticated,
        "the issuer took it back"
    );
}

#[test]
fn a_key_set_without_usable_keys_is_an_error_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    std::fs::write(&path, r#"{"keys":[]}"#).unwrap();
    let config = jwt(|jwt| jwt.jwks_file = Some(path));
    let why = Tokens::open(&config, &Arc::default()).err().unwrap().to_string();
    assert!(
        why.contains("auth.jwt.jwks_file") && why.contains("no key"),
        "{why}"
    );
}

/// RFC 9864 calls EdDSA with Ed25519 keys "Ed25519". Newer libraries use this name in tokens and key sets.
#[tokio::test(start_paused = true)]
async fn ed25519_has_two_names() {
    let key = Ed::new();
    let with = |kid: &str, alg: &str| {
        let mut jwk = key.jwk(kid);
        jwk["alg"] = json!(alg);
        jwk
    };
    let kit = kit(json!([
        with("new", "Ed25519"),
        with("old", "EdDSA"),
        with("other", "Ed448")
    ]));
    for alg in ["EdDSA", "Ed25519"] {
        for kid in ["new", "old"] {
            let token = token_of(&key, json!({"kid": kid, "alg": alg}), json!({}));
            assert!(kit.tokens.verify_patiently(&token).await.is_ok(), "{kid} {alg}");
        }
    }
    for alg in ["ed25519", "ED25519", "Ed448", "ES256", "HS256", "none"] {
        let token = token_of(&key, json!({"kid": "new", "alg": alg}), json!({}));
        assert!(kit.tokens.verify_patiently(&token).await.is_err(), "{alg}");
    }
    assert!(kit.ask(&key, "other").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_key_set_is_fetched_at_intervals() {
    let (old, new) = (Ed::new(), Ed::new());
    let kit = kit(json!([old.jwk("1")]));
    kit.publish(json!([new.jwk("1")]));
    let mut fetched = 0;
    while fetched == 0 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        fetched = kit.fetched().0;
    }
    assert!(kit.ask(&new, "1").await.is_ok());
    kit.refused(&old, "1").await;
}

#[tokio::test]
async fn before_the_first_fetch_clients_are_told_to_try_again() {
    let mut kit = kit(json!([Ed::new().jwk("0")]));
    kit.open(|jwt| jwt.jwks_url = Some("http://127.0.0.1:1/jwks".into()));
    let key = Ed::new();
    assert_eq!(kit.refused(&key, "1").await.code, Code::Unavailable);
    assert!(
        kit.refused(&secret(), "1").await.error.contains("\"alg\""),
        "no key set has these"
    );
    assert_eq!(kit.refused(&key, "1").await.code, Code::Unavailable);
    assert_eq!(kit.fetched(), (0, 1));
}
