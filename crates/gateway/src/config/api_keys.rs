//! The entries of `auth.api_keys`: each is a key in plain text or the digest of one.

use std::fmt;

use ring::digest::{SHA256, digest};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::{Choice, ConstantTimeEq};

use super::{Scopes, Secret};
use crate::text::hex;

/// Longest key, in bytes. The keys that Mynah generates have 70 bytes.
const MAX_KEY_BYTES: usize = 1_024;
/// Longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// Prefix of an entry that holds a digest instead of a key.
const HASHED: &str = "sha256:";

/// The SHA-256 digest of a key. The key itself is not kept.
///
/// A fast hash is enough: the keys that Mynah generates are 256 random bits, which cannot be guessed. A slow
/// hash (bcrypt, argon2) protects secrets that people can remember; here it would only let anybody who sends
/// wrong keys use up the processor.
///
/// The type does not implement `PartialEq`, because digests must be compared in constant time: see
/// [`Self::same`].
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Returns the digest of `key`.
    pub fn of(key: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Parses 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = (digit(0)? * 16 + digit(1)?) as u8;
        }
        Some(Self(bytes))
    }

    /// Returns the digest as 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Returns the first eight digits: enough to tell keys apart, too little to guess a digest.
    pub fn fingerprint(&self) -> String {
        format!("{HASHED}{}", &self.hex()[..8])
    }

    /// Compares two digests in constant time.
    pub fn same(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl Serialize for KeyDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for KeyDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| {
            D::Error::custom("sha256 must be 64 hexadecimal digits, the digest of a key and not the key")
        })
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// An entry of `auth.api_keys`, parsed.
#[derive(Debug, Clone)]
pub struct ConfiguredKey {
    /// The name that the entry gives the key, if any.
    pub name: Option<String>,
    /// What the key may be used for.
    pub scopes: Scopes,
    /// The digest of the key.
    pub digest: KeyDigest,
    /// Whether the entry holds a digest instead of the key.
    pub hashed: bool,
}

impl ConfiguredKey {
    /// Parses a key in plain text, or `sha256:<64 digits>` with optional `;name=<name>` and
    /// `;scopes=send+read`. The error text does not contain any part of the entry, which may be a secret.
    pub fn parse(entry: &Secret) -> Result<Self, &'static str> {
        let text = entry.expose();
        if !is_key(text) {
            return Err("must have 1 to 1,024 printable ASCII characters and no spaces");
        }
        let Some(rest) = text.strip_prefix(HASHED) else {
            return Ok(Self {
                name: None,
                scopes: Scopes::ALL,
                digest: KeyDigest::of(text),
                hashed: false,
            });
        };
        let mut parts = rest.split(';');
        let digest = parts.next().and_then(KeyDigest::from_hex);
        let digest = digest.ok_or("must have 64 hexadecimal digits after \"sha256:\"")?;
        let mut key = Self {
            name: None,
            scopes: Scopes::ALL,
            digest,
            hashed: true,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("name", name)) if is_key_name(name) => key.name = Some(name.to_owned()),
                Some(("name", _)) => return Err(KEY_NAME),
                Some(("scopes", names)) => {
                    key.scopes = Scopes::named(names.split('+')).map_err(
                        |_| "must have scopes such as \";scopes=send+read\": send, read, manage, metrics",
                    )?;
                }
                _ => return Err("may have only \";name=...\" and \";scopes=send+read\" after its digest"),
            }
        }
        Ok(key)
    }
}

/// Whether `text` can be a key: it has 1 to 1,024 printable ASCII characters and no spaces.
pub fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The error text for an invalid name of a key.
pub const KEY_NAME: &str = "must have a name of 1 to 64 letters, digits, and the characters -._";

/// Whether `name` is a valid name for a key.
pub fn is_key_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}
