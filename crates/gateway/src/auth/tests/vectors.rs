//! The examples of the RFCs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::keys;
use crate::auth::testing::jwt;
use crate::auth::testing::tokens;
use crate::config::Secret;

/// RFC 7515, appendix A. The payload expired in 2011 and names no user.
const PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const THEN: u64 = 1_300_000_000_000;
/// The error for a token whose signature is valid.
const NO_SUB: &str = "\"sub\"";

fn verified(config: &crate::config::Config, token: &str) -> String {
    let why = tokens(config).check(token, THEN).err();
    why.unwrap_or("its key is unknown").to_owned()
}

fn key_set(jwk: &str) -> (tempfile::TempDir, crate::config::Config) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    std::fs::write(&path, format!(r#"{{"keys":[{jwk}]}}"#)).unwrap();
    (dir, jwt(|jwt| jwt.jwks_file = Some(path)))
}

/// Flips the first bit of the signature.
fn corrupted(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[0] ^= 128;
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[test]
fn hs256() {
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let token = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, URL_SAFE_NO_PAD.decode(key).unwrap()).unwrap();
    let config = jwt(|jwt| jwt.secret_file = Some(path));
    assert!(verified(&config, &token).contains(NO_SUB));
    assert!(verified(&config, &corrupted(&token)).contains("signature"));
}

#[test]
fn rs256() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let (_dir, config) = key_set(&format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#));
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{signature}");
    assert!(verified(&config, &token).contains(NO_SUB));
    assert!(verified(&config, &corrupted(&token)).contains("signature"));
}

#[test]
fn es256() {
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let (_dir, config) = key_set(jwk);
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let token = format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{signature}");
    assert!(verified(&config, &token).contains(NO_SUB));
    assert!(verified(&config, &corrupted(&token)).contains("signature"));
}

/// RFC 8037, appendix A.4. The signed text is not JSON.
#[test]
fn eddsa() {
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let (_dir, config) = key_set(jwk);
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(verified(&config, token).contains("claims"));
    assert!(verified(&config, &corrupted(token)).contains("signature"));
}

#[test]
fn only_keys_for_verifying_signatures_are_taken_from_a_key_set() {
    let fine = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    for other in [
        r#"{"kty":"oct","kid":"b","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0i"}"#,
        r#"{"kty":"OKP","crv":"X25519","kid":"b","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","kid":"b","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","kid":"b","key_ops":["sign"],"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","kid":"b","alg":"HS256","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","kid":"b","x":"AAAA"}"#,
        r#"{"kty":"EC","crv":"P-256","kid":"b","x":"AAAA","y":"AAAA"}"#,
        r#"{"kty":"EC","crv":"P-384","kid":"b","x":"AAAA","y":"AAAA"}"#,
        r#"{"kty":"RSA","kid":"b","n":"AQAB","e":"AQAB"}"#,
        r#"{"kty":"RSA","kid":"b"}"#,
        r#"{"kty":"new","kid":"b"}"#,
        r#"{"kid":"b"}"#,
        "7",
    ] {
        let keys = keys::from_jwks(format!(r#"{{"keys":[{other},{fine}]}}"#).as_bytes()).unwrap();
        assert_eq!(keys.len(), 1, "{other}");
        assert_eq!(keys[0].kid.as_deref(), Some("a"));
    }
    assert_eq!(keys::from_jwks(br#"{"keys":[]}"#).unwrap().len(), 0);
    for broken in ["", "{}", "[]", r#"{"keys":{}}"#, "<html>"] {
        assert!(keys::from_jwks(broken.as_bytes()).is_err(), "{broken}");
    }
    let many = vec![fine; 65].join(",");
    assert!(keys::from_jwks(format!(r#"{{"keys":[{many}]}}"#).as_bytes()).is_err());
    let secret = jwt(|jwt| jwt.secret = Some(Secret::new("x".repeat(32))));
    assert!(verified(&secret, "eyJhbGciOiJFUzI1NiJ9.e30.AA").contains("\"alg\""));
}
