//! The file of named keys, `api-keys.toml`: their digests, scopes and times. People may read it and, with care, change it.
//!
//! Invariant: whoever changes it holds the lock from reading to replacing, so that of two changes at once none is lost.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::value::Datetime;

use super::disk;
use super::error::FileError;
use super::first;
use crate::config::{KEY_NAME, KeyDigest, Scopes, is_key_name};
use crate::text::plain;
use crate::time::UnixMillis;

/// Its name in the data directory.
pub(super) const FILE: &str = "api-keys.toml";
/// Locked by whoever changes it; the server never does.
const LOCK: &str = "api-keys.lock";
/// Most keys.
pub(super) const MOST_KEYS: usize = 1_000;
/// Most earlier keys of one name that are still valid.
pub(super) const MOST_PREVIOUS: usize = 8;
/// Longest file.
const MOST_BYTES: u64 = 2 << 20;
/// Above the keys.
const HEAD: &str = "# API keys, kept by `mynah api-key`: digests only, no key can be got back from them.\n\n";

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) keys: Vec<NamedKey>,
}

/// A key of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedKey {
    pub(super) name: String,
    #[serde(rename = "sha256", with = "hexadecimal")]
    pub(super) digest: KeyDigest,
    pub(super) scopes: Scopes,
    pub(super) created: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Moment>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) previous: Vec<Previous>,
}

/// A key that was replaced and is still valid for a while.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Previous {
    #[serde(rename = "sha256", with = "hexadecimal")]
    pub(super) digest: KeyDigest,
    pub(super) expires: Moment,
}

/// A time, written as people read it (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) UnixMillis);

/// What the file `path` holds, if it is there.
pub(super) fn read(path: &Path) -> Result<Option<KeyFile>, FileError> {
    match disk::read(path, MOST_BYTES)? {
        Some(text) => parse(&text)
            .map(Some)
            .map_err(|why| FileError::Text(format!("{}{why}", path.display()))),
        None => Ok(None),
    }
}

/// Changes the file of the directory `data`, both of which are made if need be. Nothing is written when `change` fails.
pub(super) fn change<T>(
    data: &Path,
    change: impl FnOnce(&mut KeyFile) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let path = data.join(FILE);
    let attempt = || -> anyhow::Result<T> {
        DirBuilder::new().recursive(true).mode(0o700).create(data)?;
        let _held = disk::lock(&data.join(LOCK))?;
        let mut file = read(&path)?.unwrap_or_default();
        let outcome = change(&mut file)?;
        check(&file).map_err(anyhow::Error::msg)?;
        disk::replace(&path, &format!("{HEAD}{}", toml::to_string(&file)?))?;
        Ok(outcome)
    };
    attempt().with_context(|| format!("the keys in {} were not changed", data.display()))
}

/// Reads the file's text. The complaint begins with `:<line>: ` where the line is known, or with a colon.
pub(super) fn parse(text: &str) -> Result<KeyFile, String> {
    let file: KeyFile = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(String::new(), |span| {
            let before = text.get(..span.start).unwrap_or(text);
            format!(":{}", before.matches('\n').count() + 1)
        });
        // Some complaints repeat the value; a key that was pasted here must not get into the log.
        let message = error.message();
        let quotes = message.contains(['"', '`']) && !message.starts_with("missing field");
        let why = if quotes {
            "an unknown key, or a value that is invalid or of the wrong type".to_owned()
        } else {
            plain(message, "a table")
        };
        format!("{at}: {why}")
    })?;
    check(&file).map_err(|why| format!(": {why}"))?;
    Ok(file)
}

/// What no single entry shows.
fn check(file: &KeyFile) -> Result<(), String> {
    if file.keys.len() > MOST_KEYS {
        return Err(format!(
            "more than {MOST_KEYS} keys: remove those that nobody uses"
        ));
    }
    for (index, key) in file.keys.iter().enumerate() {
        if !is_key_name(&key.name) {
            return Err(format!("key number {} {KEY_NAME}", index + 1));
        }
        if key.name == first::NAME {
            return Err(format!(
                "the name {:?} is that of the key of the first start: take another",
                first::NAME
            ));
        }
        if file.keys[..index].iter().any(|other| other.name == key.name) {
            return Err(format!("the name {:?} is there twice", key.name));
        }
        if key.previous.len() > MOST_PREVIOUS {
            return Err(format!(
                "{MOST_PREVIOUS} earlier keys of {:?} are still valid: wait until they expire, or rotate without --grace",
                key.name
            ));
        }
    }
    Ok(())
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = UNIX_EPOCH + Duration::from_millis(self.0);
        write!(f, "{}", humantime::format_rfc3339_seconds(time))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let time = UNIX_EPOCH + Duration::from_millis(self.0);
        let text = humantime::format_rfc3339_millis(time).to_string();
        text.parse::<Datetime>()
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Datetime::deserialize(deserializer)?.to_string();
        let wrong = "a time must be in UTC and from 1970 on, as 2030-01-31T12:00:00Z";
        let time = humantime::parse_rfc3339(&text).map_err(|_| D::Error::custom(wrong))?;
        let since = time
            .duration_since(UNIX_EPOCH)
            .map_err(|_| D::Error::custom(wrong))?;
        Ok(Self(since.as_millis() as UnixMillis))
    }
}

/// A digest as 64 digits.
mod hexadecimal {
    use super::*;

    pub(super) fn serialize<S: Serializer>(digest: &KeyDigest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&digest.hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyDigest, D::Error> {
        let text = String::deserialize(deserializer)?;
        KeyDigest::from_hex(&text).ok_or_else(|| {
            D::Error::custom("sha256 must be 64 hexadecimal digits, the digest of a key and not the key")
        })
    }
}
