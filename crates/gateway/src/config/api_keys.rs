//! An entry of `auth.api_keys`: a key as it is, or its digest.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Scopes, Secret};

/// Longest key, in bytes; ours have 70.
pub const MAX_KEY_BYTES: usize = 1_024;
/// Longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// What an entry begins with that holds a digest instead of a key.
const HASHED: &str = "sha256:";

/// All that is kept of a key.
///
/// SHA-256 is enough: a key that we make is 256 random bits, which nobody finds by trying, however fast the hash. A slow one
/// (bcrypt, argon2) protects secrets that people can remember; here it would only let whoever offers wrong keys burn the processor.
///
/// There is no `==`: who compares does it in constant time.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of `key`.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// From 64 hexadecimal digits.
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

    /// As 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its beginning: enough to tell keys apart, too little to find one.
    pub fn fingerprint(&self) -> String {
        format!("{HASHED}{}", &self.hex()[..8])
    }

    /// Whether both are of the same key.
    pub fn same(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// An entry of `auth.api_keys`.
#[derive(Debug, Clone)]
pub struct ConfiguredKey {
    /// Its name, where it has one of its own.
    pub name: Option<String>,
    /// What it may do.
    pub scopes: Scopes,
    /// Its digest.
    pub digest: KeyDigest,
    /// It stands there as a digest, not as it is.
    pub hashed: bool,
}

impl ConfiguredKey {
    /// A key as it is, or `sha256:<64 digits>`, which `;name=<name>` and `;scopes=send+read` may follow. What is wrong is said
    /// without repeating any of it.
    pub fn parse(entry: &Secret) -> Result<Self, &'static str> {
        let text = entry.expose();
        if text.is_empty() || text.len() > MAX_KEY_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("must be printable ASCII characters without spaces, at most 1,024");
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

/// What a name must be.
pub const KEY_NAME: &str = "must have a name of 1 to 64 letters, digits and -._";

/// Whether a key may have this name.
pub fn is_key_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}
