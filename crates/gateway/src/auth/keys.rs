//! The keys with which tokens are verified.
//!
//! Invariant: a key is created for one algorithm, and verifies only signatures of this algorithm.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use ring::{hmac, signature};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::value::RawValue;
use spki::der::asn1::UintRef;
use spki::der::{Decode, Reader, SliceReader};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::algorithm::Algorithm;
use super::fields::object;
use crate::text::{bytes_without_mark, without_mark};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Sizes of RSA keys in bits: shorter keys are insecure (RFC 7518, section 3.3), longer ones are slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// The maximum number of keys of one key set. A token without `kid` could otherwise be slow to check.
const MOST_KEYS: usize = 64;

enum Material {
    Secret(hmac::Key),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    Public(UnparsedPublicKey<Vec<u8>>),
}

/// A key together with its algorithm.
pub(crate) struct TokenKey {
    pub(super) algorithm: Algorithm,
    /// The name of the key in the issuer's key set.
    pub(super) kid: Option<Box<str>>,
    material: Material,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key {:?}", self.algorithm.name(), self.kid)
    }
}

impl TokenKey {
    fn new(algorithm: Algorithm, material: Material) -> Self {
        Self {
            algorithm,
            kid: None,
            material,
        }
    }

    /// Creates a key for HS256.
    pub(super) fn secret(secret: &[u8]) -> Self {
        Self::new(
            Algorithm::Hs256,
            Material::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret)),
        )
    }

    /// Creates a key for RS256 from a modulus and an exponent, both big-endian.
    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, String> {
        let without_zeros = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes[zeros..].to_vec()
        };
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(format!(
                "an RSA key must have {} to {} bits, not {bits}",
                RSA_BITS.start(),
                RSA_BITS.end()
            ));
        }
        Ok(Self::new(
            Algorithm::Rs256,
            Material::Rsa(RsaPublicKeyComponents { n, e }),
        ))
    }

    /// Creates a key for ES256 from an uncompressed point.
    fn p256(point: Vec<u8>) -> Result<Self, String> {
        if point.len() != 65 || point[0] != 4 {
            return Err("the point of a P-256 key must be uncompressed, 65 bytes".into());
        }
        let key = UnparsedPublicKey::new(
            &ECDSA_P256_SHA256_FIXED as &dyn signature::VerificationAlgorithm,
            point,
        );
        Ok(Self::new(Algorithm::Es256, Material::Public(key)))
    }

    /// Creates a key for EdDSA.
    fn ed25519(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() != 32 {
            return Err("an Ed25519 key has 32 bytes".into());
        }
        let key = UnparsedPublicKey::new(&ED25519 as &dyn signature::VerificationAlgorithm, bytes);
        Ok(Self::new(Algorithm::EdDsa, Material::Public(key)))
    }

    /// Returns whether `signature` is a signature of `message` with this key. HMACs are compared in constant
    /// time.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Rsa(key) => key
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            Material::Public(key) => key.verify(message, signature).is_ok(),
        }
    }
}

/// Parses the public keys in a PEM text.
pub(super) fn from_pem(text: &str) -> Result<Vec<TokenKey>, String> {
    if text.contains("PRIVATE KEY-----") {
        return Err("it contains a private key, which only the issuer may have; use its public key: openssl pkey -in FILE -pubout".into());
    }
    // Environment variables often contain a backslash and an `n` instead of a line break.
    let text = without_mark(text).replace("\\n", "\n");
    let keys: Vec<TokenKey> = SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes())
        .map(|found| {
            found
                .map_err(|error| error.to_string())
                .and_then(|der| from_spki(&der))
        })
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err("it does not contain \"-----BEGIN PUBLIC KEY-----\"".into());
    }
    Ok(keys)
}

fn from_spki(der: &[u8]) -> Result<TokenKey, String> {
    let info =
        SubjectPublicKeyInfoRef::try_from(der).map_err(|error| format!("it is not a public key: {error}"))?;
    let bits = info.subject_public_key.raw_bytes();
    match info.algorithm.oid {
        RSA => {
            let (n, e) = rsa_components(bits).map_err(|error| format!("it is not an RSA key: {error}"))?;
            TokenKey::rsa(n, e)
        }
        EC if info.algorithm.parameters_oid() == Ok(P256) => TokenKey::p256(bits.to_vec()),
        EC => Err("the only supported elliptic curve is P-256 (ES256)".into()),
        ED25519_KEY => TokenKey::ed25519(bits.to_vec()),
        other => Err(format!(
            "it is neither RSA nor P-256 nor Ed25519 (its algorithm is {other})"
        )),
    }
}

/// Parses an `RSAPublicKey` (RFC 8017, appendix A.1.1).
fn rsa_components(der: &[u8]) -> spki::der::Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der)?;
    let (n, e) = reader
        .sequence(|reader| Ok::<_, spki::der::Error>((UintRef::decode(reader)?, UintRef::decode(reader)?)))?;
    reader.finish()?;
    Ok((n.as_bytes(), e.as_bytes()))
}

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The fields of a key in a key set (RFC 7517) that are used.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Parses a JWKS. Keys that cannot be used for verifying are ignored: secrets, encryption keys, other
/// algorithms.
pub(super) fn from_jwks(text: &[u8]) -> Result<Vec<TokenKey>, String> {
    let set: Set<'_> =
        object(bytes_without_mark(text)).ok_or("it is not a key set such as {\"keys\":[...]}")?;
    if set.keys.len() > MOST_KEYS {
        return Err(format!(
            "it has {} keys, but at most {MOST_KEYS} are allowed",
            set.keys.len()
        ));
    }
    let mut keys = Vec::new();
    for raw in set.keys {
        let key = object::<Jwk>(raw.get().as_bytes())
            .ok_or_else(|| "it is not a valid JWK".to_owned())
            .and_then(Jwk::key);
        match key {
            Ok(key) => keys.push(key),
            Err(why) => tracing::debug!(why, "a key of the key set is ignored"),
        }
    }
    Ok(keys)
}

impl Jwk {
    fn key(self) -> Result<TokenKey, String> {
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("it is not for signatures".into());
        }
        if self
            .key_ops
            .is_some_and(|ops| ops.iter().all(|op| op != "verify"))
        {
            return Err("it is not for verifying".into());
        }
        let bytes = |field: &Option<String>| {
            let text = field.as_deref().ok_or("a component is missing")?;
            URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_| "a component is not valid base64url")
        };
        let mut key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => TokenKey::rsa(&bytes(&self.n)?, &bytes(&self.e)?)?,
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
                if (x.len(), y.len()) != (32, 32) {
                    return Err("a coordinate of a P-256 key has 32 bytes".into());
                }
                TokenKey::p256([&[4], x.as_slice(), y.as_slice()].concat())?
            }
            ("OKP", Some("Ed25519")) => TokenKey::ed25519(bytes(&self.x)?)?,
            (kty, _) => return Err(format!("keys of type {kty} with this curve are not supported")),
        };
        if self
            .alg
            .is_some_and(|alg| Algorithm::from_name(&alg) != Some(key.algorithm))
        {
            return Err("it is for another algorithm".into());
        }
        key.kid = self.kid.map(Into::into);
        Ok(key)
    }
}
