//! The named keys and the key of the first start, as a text in the store with digests, scopes and times.
//!
//! The text is TOML, so that people can read it. The file `api-keys.toml` of earlier versions had the same
//! form.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::value::Datetime;

use super::first;
use crate::config::{KEY_NAME, KeyDigest, Scopes, is_key_name};
use crate::text::plain;
use crate::time::UnixMillis;

/// The maximum number of keys.
pub(super) const MOST_KEYS: usize = 1_000;
/// The maximum number of earlier keys of one name that are still valid.
pub(super) const MOST_PREVIOUS: usize = 8;
/// The comment at the beginning of the text.
const HEAD: &str = "# API keys, kept by `mynah api-key`: digests only, no key can be got back from them.\n\n";

/// All keys of a store.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeySet {
    /// The key that was made at the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<KeyDigest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) keys: Vec<NamedKey>,
    /// Whether no named key was ever added. Then a start without any key makes the first one.
    #[serde(skip)]
    pub(super) is_new: bool,
}

/// A key that `mynah api-key add` has made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedKey {
    pub(super) name: String,
    #[serde(rename = "sha256")]
    pub(super) digest: KeyDigest,
    pub(super) scopes: Scopes,
    pub(super) created: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Moment>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) previous: Vec<Previous>,
}

/// A key that was replaced and is still valid for a while.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Previous {
    #[serde(rename = "sha256")]
    pub(super) digest: KeyDigest,
    pub(super) expires: Moment,
}

/// A key that calls are compared with. Only its digest is known.
#[derive(Debug, Clone)]
pub(super) struct KnownKey {
    pub(super) name: Arc<str>,
    pub(super) scopes: Scopes,
    pub(super) digest: KeyDigest,
    /// The time from which on the key is refused.
    pub(super) expires: Option<UnixMillis>,
}

/// A time, written in a form that people can read (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) UnixMillis);

impl KeySet {
    /// Reads a text, which is empty if there never was a key. An error begins with `:<line>: ` if the line is
    /// known, and otherwise with a colon. It never repeats a value, which may be a key.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut set: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(String::new(), |span| {
                let before = text.get(..span.start).unwrap_or(text);
                format!(":{}", before.matches('\n').count() + 1)
            });
            // Some messages repeat the value. A key that was pasted here must not be logged.
            let message = error.message();
            let quotes = message.contains(['"', '`']) && !message.starts_with("missing field");
            let why = if quotes {
                "an unknown key, or a value that is invalid or of the wrong type".to_owned()
            } else {
                plain(message, "a table")
            };
            format!("{at}: {why}")
        })?;
        set.check().map_err(|why| format!(": {why}"))?;
        set.is_new = text.is_empty();
        Ok(set)
    }

    /// Returns the text to store.
    pub(super) fn text(&self) -> Result<String, String> {
        self.check()?;
        if self.is_new && self.first.is_none() && self.keys.is_empty() {
            return Ok(String::new());
        }
        let keys = toml::to_string(self).map_err(|error| error.to_string())?;
        Ok(format!("{HEAD}{keys}"))
    }

    /// Returns the keys that calls are compared with. The key of the first start is one of them only if
    /// `first` is true.
    pub(super) fn into_known(self, first: bool) -> Vec<KnownKey> {
        let first = self.first.filter(|_| first).map(|digest| KnownKey {
            name: first::NAME.into(),
            scopes: Scopes::ALL,
            digest,
            expires: None,
        });
        let mut known: Vec<_> = first.into_iter().collect();
        for key in self.keys {
            known.extend(key.previous.iter().map(|previous| KnownKey {
                name: format!("{} (previous)", key.name).into(),
                scopes: key.scopes,
                digest: previous.digest,
                expires: Some(previous.expires.0),
            }));
            known.push(KnownKey {
                name: key.name.into(),
                scopes: key.scopes,
                digest: key.digest,
                expires: key.expires.map(|moment| moment.0),
            });
        }
        known
    }

    /// Checks names and limits.
    fn check(&self) -> Result<(), String> {
        if self.keys.len() > MOST_KEYS {
            return Err(format!(
                "more than {MOST_KEYS} keys: remove those that nobody uses"
            ));
        }
        for (index, key) in self.keys.iter().enumerate() {
            if !is_key_name(&key.name) {
                return Err(format!("key number {} {KEY_NAME}", index + 1));
            }
            if key.name == first::NAME {
                return Err(format!(
                    "the name {:?} is that of the key of the first start: use another name",
                    first::NAME
                ));
            }
            if self.keys[..index].iter().any(|other| other.name == key.name) {
                return Err(format!("the name {:?} is used twice", key.name));
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
