//! Parsing a token's header and claims. Nothing here verifies the signature.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::value::RawValue;

use super::algorithm::Algorithm;
use crate::claims::Claims;
use crate::ids::{self, DeviceId, Uid};

/// Longest `jti`, in bytes.
const MAX_JTI_BYTES: usize = 256;
/// The last second of the year 9999. A later time was probably meant in milliseconds.
const LATEST_SECONDS: f64 = 253_402_300_799.0;
/// How far `iat` may be ahead of the server's clock, besides the leeway.
const IAT_AHEAD_MS: u64 = 30_000;

/// Why a token is refused, in a sentence that says what to change.
pub(super) type Wrong = &'static str;

const NO_TOKEN: Wrong = "Not a valid JWT: expected three base64url parts separated by dots.";
const BAD_EXP: Wrong = "The token's \"exp\" must be a time in seconds since 1970.";
const BAD_NBF: Wrong = "The token's \"nbf\" must be a time in seconds since 1970.";
const BAD_IAT: Wrong = "The token's \"iat\" must be a time in seconds since 1970.";
const BAD_JTI: Wrong = "The token's \"jti\" must be a string of at most 256 bytes.";

/// The parts of a token. They are still encoded as base64url.
pub(super) struct TokenParts<'t> {
    /// The part that is signed: the header, a dot, and the payload.
    pub(super) message: &'t str,
    pub(super) header: &'t str,
    pub(super) payload: &'t str,
    pub(super) signature: &'t str,
}

impl<'t> TokenParts<'t> {
    pub(super) fn of(token: &'t str) -> Result<Self, Wrong> {
        let (message, signature) = token.rsplit_once('.').ok_or(NO_TOKEN)?;
        let (header, payload) = message.split_once('.').ok_or(NO_TOKEN)?;
        if payload.contains('.') {
            return Err(NO_TOKEN);
        }
        Ok(Self {
            message,
            header,
            payload,
            signature,
        })
    }
}

/// Decodes base64url without padding. Other encodings of the same bytes are refused.
pub(super) fn decoded(part: &str) -> Result<Vec<u8>, Wrong> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| NO_TOKEN)
}

/// Records whether a field is present, whatever its value is.
#[derive(Default)]
struct IsThere(bool);

impl<'de> Deserialize<'de> for IsThere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// The fields of the header. Keys in the header (`jwk`, `jku`, `x5c`, `x5u`) are ignored.
#[derive(Deserialize)]
struct HeaderFields<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    #[serde(default)]
    crit: IsThere,
}

/// The checked header of a token.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Box<str>>,
}

impl Header {
    pub(super) fn read(json: &[u8]) -> Result<Self, Wrong> {
        let fields: HeaderFields<'_> =
            object(json).ok_or("The token's header must be a JSON object with \"alg\".")?;
        if fields.crit.0 {
            return Err("The token's header has \"crit\", but critical extensions are not supported.");
        }
        let algorithm = Algorithm::from_name(&fields.alg).ok_or(
            "The token's \"alg\" is not accepted; sign it with HS256, RS256, ES256 or EdDSA (Ed25519).",
        )?;
        Ok(Self {
            algorithm,
            kid: fields.kid.map(|kid| kid.as_ref().into()),
        })
    }
}

/// What the configuration requires of the claims.
pub(super) struct TokenRules {
    pub(super) audience: Vec<String>,
    pub(super) issuer: Vec<String>,
    pub(super) leeway_ms: u64,
}

/// The claims that are used, not yet parsed. A token with a duplicate claim is refused.
#[derive(Deserialize)]
struct ClaimFields<'a> {
    #[serde(borrow)]
    sub: Option<&'a RawValue>,
    #[serde(borrow)]
    exp: Option<&'a RawValue>,
    #[serde(borrow)]
    nbf: Option<&'a RawValue>,
    #[serde(borrow)]
    iat: Option<&'a RawValue>,
    #[serde(borrow)]
    aud: Option<&'a RawValue>,
    #[serde(borrow)]
    iss: Option<&'a RawValue>,
    #[serde(borrow)]
    jti: Option<&'a RawValue>,
    #[serde(borrow, alias = "deviceid")]
    device: Option<&'a RawValue>,
    #[serde(borrow)]
    platform: Option<&'a RawValue>,
    #[serde(borrow)]
    kinds: Option<&'a RawValue>,
}

/// Reads the claims of a token whose signature was verified, and checks them against the rules.
pub(super) fn claims(json: &[u8], rules: &TokenRules, now: u64) -> Result<Claims, Wrong> {
    let fields: ClaimFields<'_> =
        object(json).ok_or("The token's claims must be a JSON object without duplicate keys.")?;
    let exp = time(fields.exp, BAD_EXP)?
        .ok_or("The token has no \"exp\"; it must say when it expires.")?
        .saturating_add(rules.leeway_ms);
    if now >= exp {
        return Err("The token has expired; get a new one.");
    }
    let nbf = time(fields.nbf, BAD_NBF)?;
    if nbf.is_some_and(|nbf| nbf > now.saturating_add(rules.leeway_ms)) {
        return Err("The token is not valid yet (\"nbf\").");
    }
    let iat = time(fields.iat, BAD_IAT)?;
    if iat.is_some_and(|iat| iat > now.saturating_add(rules.leeway_ms + IAT_AHEAD_MS)) {
        return Err(
            "The token was issued in the future (\"iat\"); the clock of the issuer or of this server is wrong.",
        );
    }
    if !audience_fits(fields.aud, &rules.audience) {
        return Err("The token's audience (\"aud\") is not accepted.");
    }
    if !rules.issuer.is_empty() && !fields.iss.is_some_and(|iss| is_one_of(iss, &rules.issuer)) {
        return Err("The token's issuer (\"iss\") is not accepted.");
    }
    Ok(Claims {
        sub: fields
            .sub
            .and_then(|raw| Uid::from_json(raw.get())?.ok())
            .ok_or("The token's \"sub\" must be a uid: 1 to 128 bytes without control characters.")?,
        device: limit(
            fields.device,
            "The token's \"device\" must be a deviceid.",
            DeviceId::new,
        )?,
        platform: limit(
            fields.platform,
            "The token's \"platform\" must be the name of a platform.",
            ids::label,
        )?,
        kinds: parsed(fields.kinds, "The token's \"kinds\" must be a list of numbers.")?,
        exp,
        ends: Claims::NEVER,
        iat,
        jti: limit(fields.jti, BAD_JTI, |jti| {
            (jti.len() <= MAX_JTI_BYTES).then(|| jti.into()).ok_or(())
        })?,
    })
}

/// Parses a JSON object. serde would also accept an array, which is refused here.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let json = std::str::from_utf8(json).ok()?;
    json.trim_start()
        .starts_with('{')
        .then(|| serde_json::from_str(json).ok())?
}

fn parsed<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, wrong: Wrong) -> Result<Option<T>, Wrong> {
    raw.map(|raw| serde_json::from_str(raw.get()).map_err(|_| wrong))
        .transpose()
}

fn limit<T, E>(
    raw: Option<&RawValue>,
    wrong: Wrong,
    new: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, Wrong> {
    let text: Option<String> = parsed(raw, wrong)?;
    text.map(|text| new(&text).map_err(|_| wrong)).transpose()
}

/// Parses seconds, perhaps with a fraction, and returns milliseconds.
fn time(raw: Option<&RawValue>, wrong: Wrong) -> Result<Option<u64>, Wrong> {
    let seconds: Option<f64> = parsed(raw, wrong)?;
    match seconds {
        None => Ok(None),
        Some(seconds) if (0.0..=LATEST_SECONDS).contains(&seconds) => Ok(Some((seconds * 1_000.0) as u64)),
        Some(_) => Err(wrong),
    }
}

/// A token that names an audience must be refused unless it names one of `ours` (RFC 7519, section 4.1.3).
fn audience_fits(aud: Option<&RawValue>, ours: &[String]) -> bool {
    match aud {
        None => ours.is_empty(),
        Some(aud) if aud.get().starts_with('[') => serde_json::from_str::<Vec<String>>(aud.get())
            .is_ok_and(|aud| aud.iter().any(|name| ours.contains(name))),
        Some(aud) => is_one_of(aud, ours),
    }
}

fn is_one_of(raw: &RawValue, names: &[String]) -> bool {
    serde_json::from_str::<String>(raw.get()).is_ok_and(|name| names.contains(&name))
}
