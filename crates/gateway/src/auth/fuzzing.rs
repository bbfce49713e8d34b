//! What must be true of tokens and keys for any input.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::algorithm::Algorithm;
use super::backend;
use super::fields::TokenParts;
use super::keys;
use super::testing::{Ed, Es256, Hs256, NOW, SECRET, Signer, jwt, raw_token, secret, tokens};
use super::tokens::Tokens;
use crate::config::Secret;
use crate::ids::{MAX_ID_BYTES, Uid};
use crate::testing::value;

/// The owner of a key, who signs tokens.
struct Party {
    signer: Box<dyn Signer + Send + Sync>,
    accepted: bool,
    /// The name of the key in the issuer's key set. Configured keys have none.
    kid: Option<&'static str>,
}

struct Fixture {
    tokens: Tokens,
    parties: Vec<Party>,
}

/// Three configured keys, two keys of the issuer's set, and four keys that must not be accepted.
static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let (own_ed, own_es, set_ed, set_es) = (Ed::new(), Es256::new(), Ed::new(), Es256::new());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("jwks.json");
    let set = json!({"keys": [set_ed.jwk("ed"), set_es.jwk("es"), Es256::new().jwk("es2")]});
    std::fs::write(&path, set.to_string()).expect("a file");
    let pem = own_ed.pem() + &own_es.pem();
    // An attacker signs with the public key as if it were a secret.
    let confused = Hs256(own_ed.pem().into_bytes());
    let config = jwt(|jwt| {
        jwt.secret = Some(Secret::new(SECRET));
        jwt.public_key = Some(pem);
        jwt.jwks_file = Some(path);
        jwt.issuer.0 = vec!["issuer".into(), "other".into()];
        jwt.audience.0 = vec!["mynah".into()];
    });
    let party = |signer: Box<dyn Signer + Send + Sync>, accepted, kid| Party {
        signer,
        accepted,
        kid,
    };
    Fixture {
        tokens: tokens(&config),
        parties: vec![
            party(Box::new(secret()), true, None),
            party(Box::new(own_ed), true, None),
            party(Box::new(own_es), true, None),
            party(Box::new(set_ed), true, Some("ed")),
            party(Box::new(set_es), true, Some("es")),
            party(Box::new(Hs256(vec![1; 32])), false, None),
            party(Box::new(Ed::new()), false, None),
            party(Box::new(Es256::new()), false, None),
            party(Box::new(confused), false, None),
        ],
    }
});

/// Checks a token that one party signs and that is then changed. In the first line of `data`, the first
/// letter is the party that signs (`a` is the first one); a `-` means that the rest is a token already. The
/// header, the claims, and the changes follow, one in each line: `12:text` replaces that byte, `0=text` that
/// part.
pub(crate) fn token(data: &[u8]) {
    verdict(data);
}

/// Returns whether the token was accepted.
fn verdict(data: &[u8]) -> Option<bool> {
    let text = std::str::from_utf8(data).ok()?;
    let fixture = &*FIXTURE;
    if let Some(token) = text.strip_prefix('-') {
        assert!(
            !is_accepted(fixture, token),
            "a token that the harness did not sign was accepted"
        );
        return Some(false);
    }
    let mut lines = text.split('\n');
    let party = &fixture.parties
        [usize::from(lines.next()?.as_bytes().first()?.wrapping_sub(b'a')) % fixture.parties.len()];
    let (header, payload) = (lines.next()?, lines.next()?);
    let signed = raw_token(header, payload, &*party.signer);
    let token = lines.fold(signed.clone(), apply_change);
    if !is_accepted(fixture, &token) {
        return Some(false);
    }
    assert!(party.accepted, "a signature of an unknown key was accepted");
    let part = |token: &str| {
        TokenParts::of(token).map(|parts| (parts.message.to_owned(), parts.signature.to_owned()))
    };
    let ((message, signature), (as_signed, original)) = (
        part(&token).expect("three parts"),
        part(&signed).expect("three parts"),
    );
    assert_eq!(message, as_signed, "an accepted message is the signed one");
    // Anybody can compute a second valid ECDSA signature from the first one.
    assert!(
        signature == original || party.signer.algorithm() == "ES256",
        "{signature}"
    );
    let header = value(header);
    assert_eq!(header["alg"], party.signer.algorithm());
    assert!(header.get("crit").is_none());
    if let Some(kid) = party.kid {
        let alone = header.get("kid").is_none_or(Value::is_null) && party.signer.algorithm() == "EdDSA";
        assert!(alone || header["kid"] == kid, "{header}");
    }
    let claims = value(payload);
    let audience = |value: &Value| value == "mynah";
    assert!(
        audience(&claims["aud"])
            || claims["aud"]
                .as_array()
                .is_some_and(|list| list.iter().any(audience))
    );
    assert!(
        ["issuer", "other"].map(Value::from).contains(&claims["iss"]),
        "{claims}"
    );
    Some(true)
}

fn is_accepted(fixture: &Fixture, token: &str) -> bool {
    let Ok(Some(claims)) = fixture.tokens.check(token, NOW) else {
        return false;
    };
    assert!(claims.left(NOW, 0) > 0);
    assert!((1..=MAX_ID_BYTES).contains(&claims.sub.as_str().len()));
    let payload = TokenParts::of(token).expect("three parts").payload;
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("it was read before");
    let payload = std::str::from_utf8(&payload).expect("it was read before");
    // JSON integers can have more digits than any number type, so the fields are not parsed.
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(payload).expect("an object");
    let sub = fields["sub"].get();
    let sub = serde_json::from_str(sub).unwrap_or_else(|_| sub.to_owned());
    assert_eq!(claims.sub.as_str(), sub);
    let payload = value(payload);
    let device = payload
        .get("device")
        .or(payload.get("deviceid"))
        .filter(|device| !device.is_null());
    assert_eq!(
        claims.device.as_ref().map(|device| device.as_str()),
        device.and_then(Value::as_str)
    );
    true
}

fn apply_change(token: String, change: &str) -> String {
    if let Some((at, text)) = change.split_once(':')
        && let Ok(at) = at.parse::<usize>()
        && let (Some(before), Some(after)) = (token.get(..at), token.get(at + 1..))
    {
        return format!("{before}{text}{after}");
    }
    if let Some((part, text)) = change.split_once('=')
        && let Ok(part) = part.parse::<usize>()
    {
        let mut parts: Vec<&str> = token.split('.').collect();
        if let Some(slot) = parts.get_mut(part) {
            *slot = text;
        }
        return parts.join(".");
    }
    token
}

/// Checks the parser of key sets.
pub(crate) fn jwks(data: &[u8]) {
    let Ok(keys) = keys::from_jwks(data) else { return };
    let set = value(std::str::from_utf8(data).expect("JSON is UTF-8"));
    let there = set["keys"].as_array().expect("a list");
    let objects = there.iter().filter(|jwk| jwk.is_object()).count();
    assert!(keys.len() <= objects && keys.len() <= 64);
    for key in keys {
        assert_ne!(key.algorithm, Algorithm::Hs256, "a key set contains no secrets");
        if let Some(kid) = &key.kid {
            assert!(there.iter().any(|jwk| jwk["kid"] == **kid), "{kid}");
        }
        verify(&key, data);
    }
}

/// Checks the parser of public keys in PEM.
pub(crate) fn public_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match keys::from_pem(text) {
        Ok(keys) => {
            assert!(!keys.is_empty() && !text.contains("PRIVATE KEY-----"));
            for key in keys {
                assert_ne!(key.algorithm, Algorithm::Hs256);
                verify(&key, data);
            }
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

/// Verifying must not panic, whatever the key consists of.
fn verify(key: &keys::TokenKey, data: &[u8]) {
    for signature in [
        &[0; 64][..],
        &data[..data.len().min(64)],
        &data[..data.len().min(256)],
        &[],
    ] {
        let _ = key.verifies(b"what everybody knows", signature);
    }
}

/// Checks the parser of the backend's responses. The bits of the first byte choose the sort of response and
/// whether a uid was asked for.
pub(crate) fn backend(data: &[u8]) {
    let Some((what, body)) = data.split_first() else {
        return;
    };
    let body = Bytes::copy_from_slice(body);
    let asked = (what & 2 != 0).then(|| Uid::new("asked").expect("a uid"));
    if what & 1 == 0 {
        let reject = backend::refused(crate::reject::Code::Forbidden, Some(body.clone()));
        assert!((1..=300).contains(&reject.error.len()));
        assert!(!reject.error.contains(char::is_control));
        let is_default = reject.error == "The backend refused the register.";
        assert!(
            is_default || body.trim_ascii_start().starts_with(b"{"),
            "{reject}"
        );
        return;
    }
    let Ok(Ok(claims)) = backend::agreed(&body, asked.as_ref()) else {
        return;
    };
    assert!(claims.left(crate::clock::unix_millis() - 60_000, 0) > 0);
    let said = std::str::from_utf8(&body).expect("it was read").trim();
    let said = if said.is_empty() { json!({}) } else { value(said) };
    let uid = match &said["uid"] {
        Value::Null => "asked".to_owned(),
        Value::String(text) => text.clone(),
        // JSON integers can have more digits than any number type.
        _ => claims.sub.to_string(),
    };
    assert_eq!(claims.sub.as_str(), uid);
    let kinds = claims.kinds.as_ref().map(|kinds| kinds.to_vec());
    assert_eq!(
        json!(kinds),
        said["kinds"],
        "the claims allow exactly the kinds of the response"
    );
}

/// Configures a gateway for the tokens of [`signed`].
pub(crate) fn with_tokens(config: &mut crate::config::Config) {
    config.auth.mode = crate::config::Mode::Jwt;
    config.auth.jwt.secret = Some(Secret::new(SECRET));
}

/// Returns a token that is valid until `exp`, in Unix milliseconds.
pub(crate) fn signed(uid: &str, exp: u64) -> String {
    let payload = json!({"sub": uid, "exp": exp as f64 / 1_000.0, "iat": exp as f64 / 1_000.0 - 100.0, "jti": format!("{uid}{exp}")});
    raw_token(r#"{"alg":"HS256"}"#, &payload.to_string(), &secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the fuzz target: it would find nothing if every token were refused.
    #[test]
    fn valid_tokens_are_accepted_and_changed_ones_are_not() {
        let claims = json!({"sub": "alice", "exp": NOW / 1_000 + 60, "aud": ["x", "mynah"], "iss": "issuer"});
        for (who, party) in FIXTURE.parties.iter().enumerate() {
            let header = json!({"alg": party.signer.algorithm(), "kid": party.kid});
            let text = format!("{}\n{header}\n{claims}", char::from(b'a' + who as u8));
            assert_eq!(verdict(text.as_bytes()), Some(party.accepted), "{text}");
            assert_eq!(verdict(format!("{text}\n40:x").as_bytes()), Some(false), "{text}");
        }
    }
}
