//! Tokens that must be refused, and tokens that must be accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::auth::keys;
use crate::auth::testing::*;

#[test]
fn a_valid_token_gives_its_claims() {
    let tokens = with_secret(|_| {});
    let claims = check(
        &tokens,
        &token(
            &secret(),
            json!({"sub": 42, "exp": 1_790_000_060.25, "iat": 1_790_000_000, "jti": "id", "device": "d", "platform": "ios", "kinds": [3, 15], "x": []}),
        ),
    )
    .unwrap();
    assert_eq!(
        claims.sub.as_str(),
        "42",
        "an integer is its decimal string, as a uid is"
    );
    assert_eq!(claims.exp, 1_790_000_061_250, "includes the leeway");
    assert_eq!(claims.iat, Some(1_790_000_000_000));
    assert_eq!(claims.jti.as_deref(), Some("id"));
    assert_eq!(claims.device.as_ref().unwrap().as_str(), "d");
    assert_eq!(claims.platform.as_deref(), Some("ios"));
    assert!(claims.allow(15) && !claims.allow(7));
    let free = check(&tokens, &token(&secret(), json!({"nbf": null, "kinds": null}))).unwrap();
    assert!(free.allow(7) && free.device.is_none());
}

#[test]
fn each_key_verifies_its_own_algorithm() {
    let (ed, es) = (Ed::new(), Es256::new());
    let tokens = tokens(&jwt(|jwt| {
        jwt.secret = Some(crate::config::Secret::new(SECRET));
        jwt.public_key = Some(ed.pem() + &es.pem());
    }));
    for signer in [&secret() as &dyn Signer, &ed, &es] {
        assert!(
            check(&tokens, &token(signer, json!({}))).is_ok(),
            "{}",
            signer.algorithm()
        );
    }
    for stranger in [&Hs256(vec![1; 32]) as &dyn Signer, &Ed::new(), &Es256::new()] {
        assert_eq!(
            refusal(&tokens, &token(stranger, json!({}))),
            "The token's signature is invalid."
        );
    }
}

#[test]
fn a_key_does_not_verify_other_algorithms_that_a_token_names() {
    let (ed, es) = (Ed::new(), Es256::new());
    let tokens = tokens(&jwt(|jwt| jwt.public_key = Some(ed.pem() + &es.pem())));
    // The public key, which everybody knows, is used as a secret.
    for public in [ed.pem(), es.pem(), ed.pem().trim().to_owned()] {
        let forged = token(&Hs256(public.into_bytes()), json!({}));
        assert!(refusal(&tokens, &forged).contains("\"alg\""), "{forged}");
    }
    let crossed = token_of(&ed, json!({"alg": "ES256"}), json!({}));
    assert_eq!(refusal(&tokens, &crossed), "The token's signature is invalid.");
    let with_secret = with_secret(|_| {});
    assert!(refusal(&with_secret, &token(&ed, json!({}))).contains("\"alg\""));
}

#[test]
fn other_algorithms_and_alg_none_are_refused() {
    let tokens = with_secret(|_| {});
    for alg in [
        "none", "None", "NONE", "nOnE", "", "hs256", "HS384", "HS512", "PS256", "RS384", "ES384", "dir",
    ] {
        let forged = token_of(&secret(), json!({"alg": alg}), json!({}));
        assert!(refusal(&tokens, &forged).contains("\"alg\""), "{alg}");
        let unsigned = forged.rsplit_once('.').unwrap().0.to_owned() + ".";
        assert!(refusal(&tokens, &unsigned).contains("\"alg\""), "{alg}");
    }
    for alg in [json!(null), json!(1), json!(["HS256"])] {
        assert_eq!(
            refusal(&tokens, &token_of(&secret(), json!({"alg": alg}), json!({}))),
            "The token's header must be a JSON object with \"alg\"."
        );
    }
}

#[test]
fn keys_in_the_header_of_a_token_are_ignored() {
    let (own, theirs) = (Ed::new(), Ed::new());
    let tokens = tokens(&jwt(|jwt| jwt.public_key = Some(own.pem())));
    let brought = json!({"jwk": theirs.jwk("k"), "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/", "x5c": ["AAAA"], "kid": "k"});
    assert_eq!(
        refusal(&tokens, &token_of(&theirs, brought.clone(), json!({}))),
        "The token's signature is invalid."
    );
    assert!(
        check(&tokens, &token_of(&own, brought, json!({}))).is_ok(),
        "and it does no harm"
    );
}

#[test]
fn critical_extensions_are_refused() {
    let tokens = with_secret(|_| {});
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("x")] {
        let header = json!({"crit": crit, "b64": false});
        assert!(refusal(&tokens, &token_of(&secret(), header, json!({}))).contains("\"crit\""));
    }
}

#[test]
fn malformed_tokens_are_refused() {
    let tokens = with_secret(|_| {});
    let good = token(&secret(), json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let changed = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"bob","exp":{}}}"#, NOW / 1_000 + 60));
    for broken in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "a.b.c".into(),
        "é.é.é".into(),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}.{}", parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{changed}.{}", parts[0], parts[2]),
        format!("{}.{}.{}", parts[0], parts[2], parts[1]),
        "x".repeat(8_193),
    ] {
        refusal(&tokens, &broken);
    }
    let header = r#"{"alg":"HS256"}"#;
    for (header, payload) in [
        ("[]", "{}"),
        ("", "{}"),
        (
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"{"sub":"a","exp":1790000060}"#,
        ),
        (r#"{"alg":"HS256","kid":7}"#, r#"{"sub":"a","exp":1790000060}"#),
        (header, "[]"),
        (header, ""),
        (header, "null"),
        (header, r#"["a",1790000060]"#),
        (header, r#"{"sub":"a","exp":1790000060,"exp":1790000061}"#),
        (header, r#"{"sub":"a","sub":"b","exp":1790000060}"#),
        (
            header,
            r#"{"sub":"a","exp":1790000060,"device":"d","deviceid":"e"}"#,
        ),
        (header, "{\"sub\":\"a\",\"exp\":1790000060} x"),
    ] {
        refusal(&tokens, &raw_token(header, payload, &secret()));
    }
}

#[test]
fn the_types_and_times_of_claims_are_checked() {
    let tokens = with_secret(|_| {});
    let now = NOW / 1_000;
    for (claims, part) in [
        (json!({"exp": null}), "\"exp\""),
        (json!({"exp": now.to_string()}), "\"exp\""),
        (json!({"exp": true}), "\"exp\""),
        (json!({"exp": -1}), "\"exp\""),
        (json!({"exp": NOW + 60_000}), "\"exp\""),
        (json!({"exp": 1e300}), "\"exp\""),
        (json!({"exp": now - 1}), "expired"),
        (json!({"exp": 0}), "expired"),
        (json!({"nbf": now + 3}), "\"nbf\""),
        (json!({"nbf": "now"}), "\"nbf\""),
        (json!({"iat": now + 60}), "\"iat\""),
        (json!({"iat": now + 86_400}), "\"iat\""),
        (json!({"iat": []}), "\"iat\""),
        (json!({"sub": null}), "\"sub\""),
        (json!({"sub": ""}), "\"sub\""),
        (json!({"sub": 1.5}), "\"sub\""),
        (json!({"sub": {"uid": "a"}}), "\"sub\""),
        (json!({"sub": "a\u{0}"}), "\"sub\""),
        (json!({"sub": "x".repeat(129)}), "\"sub\""),
        (json!({"device": 7}), "\"device\""),
        (json!({"device": ""}), "\"device\""),
        (json!({"deviceid": ""}), "\"device\""),
        (json!({"platform": []}), "\"platform\""),
        (json!({"platform": "x".repeat(129)}), "\"platform\""),
        (json!({"kinds": 3}), "\"kinds\""),
        (json!({"kinds": ["3"]}), "\"kinds\""),
        (json!({"kinds": [70_000]}), "\"kinds\""),
        (json!({"jti": 7}), "\"jti\""),
        (json!({"jti": "x".repeat(257)}), "\"jti\""),
    ] {
        let why = refusal(&tokens, &token(&secret(), claims.clone()));
        assert!(why.contains(part) && why.ends_with('.'), "{claims}: {why}");
    }
    for fine in [
        json!({"nbf": now + 1}),
        json!({"iat": now + 20}),
        json!({"iat": now - 86_400 * 365}),
        json!({"exp": now, "nbf": now}),
        json!({"kinds": []}),
    ] {
        assert!(check(&tokens, &token(&secret(), fine.clone())).is_ok(), "{fine}");
    }
}

#[test]
fn the_audience_and_the_issuer_must_be_configured() {
    let (none, ours) = (
        with_secret(|_| {}),
        with_secret(|jwt| {
            jwt.audience.0 = vec!["chat".into(), "mynah".into()];
            jwt.issuer.0 = vec!["https://login.example".into()];
        }),
    );
    for aud in [json!("chat"), json!(["chat"]), json!([]), json!(7)] {
        assert!(
            refusal(&none, &token(&secret(), json!({"aud": aud}))).contains("\"aud\""),
            "{aud}"
        );
    }
    assert!(check(&none, &token(&secret(), json!({"iss": "anybody"}))).is_ok());
    let iss = "https://login.example";
    for aud in [json!("chat"), json!(["other", "mynah"])] {
        assert!(
            check(&ours, &token(&secret(), json!({"aud": aud, "iss": iss}))).is_ok(),
            "{aud}"
        );
    }
    for aud in [
        json!(null),
        json!("Chat"),
        json!("chat "),
        json!(["other"]),
        json!([]),
        json!(["chat", 7]),
        json!({"chat": 1}),
    ] {
        let why = refusal(&ours, &token(&secret(), json!({"aud": aud, "iss": iss})));
        assert!(why.contains("\"aud\""), "{aud}");
    }
    for iss in [json!(null), json!("https://login.example/"), json!([iss])] {
        let why = refusal(&ours, &token(&secret(), json!({"aud": "chat", "iss": iss})));
        assert!(why.contains("\"iss\""), "{iss}");
    }
}

#[test]
fn the_leeway_is_configurable() {
    let tokens = with_secret(|jwt| jwt.leeway_ms = 0);
    let now = NOW / 1_000;
    assert!(check(&tokens, &token(&secret(), json!({"exp": now}))).is_err());
    assert!(check(&tokens, &token(&secret(), json!({"nbf": now + 1}))).is_err());
    let patient = with_secret(|jwt| jwt.leeway_ms = 60_000);
    assert!(
        check(
            &patient,
            &token(&secret(), json!({"exp": now - 59, "nbf": now + 60}))
        )
        .is_ok()
    );
}

#[test]
fn unusable_public_keys_are_refused_with_a_reason() {
    for (pem, why) in [
        ("", "does not contain"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "does not contain",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "private key",
        ),
        (
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
            "private key",
        ),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "not a public key",
        ),
        ("-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n", ""),
        (WEAK_RSA, "2048 to 8192 bits, not 1024"),
        (P384, "P-256 (ES256)"),
    ] {
        let complaint = keys::from_pem(pem).unwrap_err();
        assert!(complaint.contains(why), "{pem}: {complaint}");
    }
    let one_line = Ed::new().pem().replace('\n', "\\n");
    assert_eq!(
        keys::from_pem(&one_line).unwrap().len(),
        1,
        "as environment variables are written"
    );
    let text = format!("{RSA}\n# and\n{}", Es256::new().pem());
    let algorithms = keys::from_pem(&text)
        .unwrap()
        .into_iter()
        .map(|key| key.algorithm.name());
    assert_eq!(algorithms.collect::<Vec<_>>(), ["RS256", "ES256"]);
}

const WEAK_RSA: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCmLCXDI7J6bZ7HB+9/9IugDF+R
DGQHW0p5tK6hQtq2KM2met1qN6MmOZ+WOmAzLjvhScN+2edKCOa2pXc8FqYay84c
zlMMa5zU03A0h3fVKY2j8jRl47IZRNEeFGWvhkrJYeCPDG07gxf7oY53aRCM9v4P
je+vg/tE2Nsu/cQ7KwIDAQAB
-----END PUBLIC KEY-----";

const RSA: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtF3bHbTJybTdvDaiL4qV
IRhKdUgUeOBctgckodFXxMWD/ju8RdL6oJQ/BRp/r/NrVUKiWnkmQiqymQKqwSnL
JhcvtPQX1zxS6gSVs/86NykekvBOlRIiI19IjWUP5mtpiy6F6mWTjkbVfOumT2IY
gHvHCJo3rgbwqxDkOnujPiQv2gR0dLxg456/ng7LXWvEYZajk6zw40SxYy9kDt2A
9ZeaUWeaOcYvwE4oRyyntyu9W70mgiJnHlsLRmJ1+phFgWW06RGiZs7f7aTt5PBU
VozKv2FFZqGnT/PmSPHCNKkgr8nZjQeioEqAkcMIowBjGmpPdl0Q3ic3STiugpPJ
3QIDAQAB
-----END PUBLIC KEY-----";

const P384: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEtkXImJpQpZvN5OnTPHhPgd/Lxoh7Y538
cCZW8CFdC3ZnCmZ84bJq31IfsLnIvpZm1UCqUL6oFKo1Xhxl2/Nhb8hewXO5yYn7
h0UOchpqrYe3uuxFvO+IejGCgOPOIbEu
-----END PUBLIC KEY-----";
