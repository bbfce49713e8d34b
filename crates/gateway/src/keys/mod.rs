//! API keys, which say who may call the API, and for what. They come from the configuration and from the
//! store, which reports each change.
//!
//! Invariants: only digests are kept, and a key is compared with all of them, in constant time; while keys
//! cannot be read, the last valid ones stay in force; if there is no key at all, every call is refused.

mod command;
mod files;
mod first;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod owner;
mod refused_calls;
mod set;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow};
use mynah_store::private;
use parking_lot::{Mutex, RwLock};

pub use command::{KeyCommand, Lifetime, Said, SettingAccess};
use files::Files;
use refused_calls::RefusedCalls;
use set::{KeySet, KnownKey};

use crate::config::{ConfiguredKey, KeyDigest, Scopes, Secret};
use crate::store::{Setting, Store, Watcher, outcome};
use crate::time::UnixMillis;

/// Configured keys with fewer bytes can be guessed.
const SHORT_BYTES: usize = 20;
/// The setting of the store that holds the keys.
const SETTING: &str = "api-keys";

/// The files with keys in a data directory. A backup does not contain them; a restore keeps the keys that are
/// in force.
pub const FILES: [&str; 2] = [first::FILE, files::NAMED];

/// The keys that the API accepts.
#[derive(Debug)]
pub struct ApiKeys {
    configured: Vec<KnownKey>,
    stored: RwLock<Stored>,
    refused_calls: RefusedCalls,
    home: Option<Home>,
}

/// Where keys are kept besides the configuration.
struct Home {
    data: PathBuf,
    store: Arc<dyn Store>,
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}

/// The keys of the store.
#[derive(Debug, Default)]
struct Stored {
    keys: Vec<KnownKey>,
    /// The newest version of the setting that the store has reported.
    version: u64,
    /// Whether newer keys could not be read.
    is_stale: bool,
}

/// What a key allows.
#[derive(Debug, Clone)]
pub struct Granted {
    /// The name of the key.
    pub name: Arc<str>,
    /// What the key may do.
    pub scopes: Scopes,
}

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// There is no such key.
    Unknown,
    /// The key has expired.
    Expired,
}

/// Where the keys come from. Its text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySources {
    configured: usize,
    named: usize,
    /// The file of the first start's key, and whether it was made just now.
    first: Option<(PathBuf, bool)>,
}

impl ApiKeys {
    /// Only the keys of the configuration. Invalid entries ([`ConfiguredKey::parse`]) are ignored.
    pub fn new(configured: &[Secret]) -> Self {
        let entries = configured.iter().map(ConfiguredKey::parse).enumerate();
        let configured = entries
            .filter_map(|(index, entry)| {
                let entry = entry.ok()?;
                Some(KnownKey {
                    name: configured_name(index, &entry).into(),
                    scopes: entry.scopes,
                    digest: entry.digest,
                    expires: None,
                })
            })
            .collect();
        Self {
            configured,
            stored: RwLock::default(),
            refused_calls: RefusedCalls::default(),
            home: None,
        }
    }

    /// The keys of the configuration and of the store. If there is a directory `data`, the keys in its files
    /// are added to the store; and if there is no key, and never was a named one, a key is made there.
    pub async fn open(
        configured: &[Secret],
        data: Option<&Path>,
        store: Arc<dyn Store>,
    ) -> anyhow::Result<(Arc<Self>, KeySources)> {
        for (index, key) in configured.iter().enumerate() {
            if key.expose().len() < SHORT_BYTES {
                tracing::warn!(
                    "auth.api_keys: key number {} can be guessed, because it is shorter than {SHORT_BYTES} characters: \
                     use one that `mynah api-key add` makes",
                    index + 1
                );
            }
        }
        let home = data.map(|data| Home {
            data: data.to_owned(),
            store: store.clone(),
        });
        let keys = Arc::new(Self {
            home,
            ..Self::new(configured)
        });
        let watching = Arc::downgrade(&keys);
        store.watch(Watcher::Settings(Box::new(move |setting| {
            if let Some(keys) = watching.upgrade() {
                keys.take(setting);
            }
        })));
        let Some(data) = data else {
            let sources = KeySources {
                configured: keys.configured.len(),
                named: keys.stored.read().keys.len(),
                first: None,
            };
            return Ok((keys, sources));
        };
        private::tighten(data, &FILES);
        let (first, makes_first) = (data.join(first::FILE), configured.is_empty());
        let directory = data.to_owned();
        let (named, made) = take_over(&*store, data, move |set| {
            let is_needed = makes_first && set.is_new && set.first.is_none();
            if is_needed {
                set.first = Some(first::make(&directory)?);
            }
            Ok((set.keys.len(), is_needed))
        })
        .await?;
        let sources = KeySources {
            configured: keys.configured.len(),
            named,
            first: (makes_first && first.exists()).then_some((first, made)),
        };
        Ok((keys, sources))
    }

    /// Returns what the key `offered` allows at the time `now`. This takes the same time for all keys, valid
    /// or not.
    pub fn check(&self, offered: &str, now: UnixMillis) -> Result<Granted, Denied> {
        let offered = KeyDigest::of(offered);
        let stored = self.stored.read();
        let mut outcome = Err(Denied::Unknown);
        for key in self.configured.iter().chain(&stored.keys) {
            let alive = key.expires.is_none_or(|end| now < end);
            if !bool::from(key.digest.same(&offered)) {
                continue;
            }
            match &mut outcome {
                // The same key in several places may do what any of them allows.
                Ok(Granted { scopes, .. }) if alive => *scopes = scopes.and(key.scopes),
                Err(_) if alive => {
                    outcome = Ok(Granted {
                        name: key.name.clone(),
                        scopes: key.scopes,
                    });
                }
                Err(denied) => *denied = Denied::Expired,
                Ok(_) => {}
            }
        }
        outcome
    }

    /// Reads the files of the data directory again, and adds their keys to the store. Returns whether this
    /// succeeded.
    pub async fn reload(&self) -> bool {
        let Some(Home { data, store }) = &self.home else {
            return true;
        };
        let taken = take_over(&**store, data, |_| Ok(())).await;
        if let Err(error) = &taken {
            tracing::error!("the API keys cannot be read, the last valid ones stay in force: {error:#}");
        }
        self.stored.write().is_stale = taken.is_err();
        taken.is_ok()
    }

    /// Takes over the keys that the store has reported, unless they are older than the present ones.
    fn take(&self, setting: &Setting) {
        let mut stored = self.stored.write();
        if setting.name != SETTING || setting.version <= stored.version {
            return;
        }
        let is_first = stored.version == 0;
        stored.version = setting.version;
        let set = KeySet::parse(&setting.text);
        stored.is_stale = set.is_err();
        match set {
            Ok(set) => {
                stored.keys = set.into_known(self.configured.is_empty());
                let keys = self.configured.len() + stored.keys.len();
                if !is_first {
                    tracing::info!(keys, "the API keys were changed, there are {keys}");
                }
                if keys == 0 {
                    tracing::warn!(
                        "no API key is left: every call of the API is refused until `mynah api-key add` makes one"
                    );
                }
            }
            Err(why) => tracing::error!(
                "the API keys in the store cannot be read, the last valid ones stay in force{why}"
            ),
        }
    }

    /// Whether newer keys could not be read, so that older ones are in force.
    pub fn is_stale(&self) -> bool {
        self.stored.read().is_stale
    }

    /// Counts a refused call, and logs the number of them from time to time. `reason` is a fixed text, which
    /// contains nothing that a caller sent.
    pub(crate) fn note_refusal(&self, reason: &'static str, now: Instant) {
        if let Some(calls) = self.refused_calls.note(now) {
            tracing::warn!(
                calls,
                reason,
                "{calls} calls of the API were refused since this was last logged, the last one for its key: {reason}"
            );
        }
    }
}

/// Adds the keys in the files of the directory `data` to those of the store, and then changes them.
async fn take_over<T: Send + 'static>(
    store: &dyn Store,
    data: &Path,
    change: impl Fn(&mut KeySet) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let files = Files::read(data)?;
    // The store may repeat the change, and the last one counts.
    let last = Arc::new(Mutex::new(None));
    let kept = last.clone();
    let changing = move |text: &str| {
        let (text, outcome) = match changed(text, &files, &change) {
            Ok((text, outcome)) => (text, Ok(outcome)),
            Err(error) => (None, Err(error)),
        };
        *kept.lock() = Some(outcome);
        text
    };
    outcome(|done| store.change_setting(SETTING, Box::new(changing), done)).await?;
    let changed = last
        .lock()
        .take()
        .context("the store has not made the change")??;
    Files::taken_over(data)?;
    Ok(changed)
}

/// Returns the text of the keys after `files` were added and `change` was made, or `None` if it is the same
/// as `text`.
fn changed<T>(
    text: &str,
    files: &Files,
    change: impl FnOnce(&mut KeySet) -> anyhow::Result<T>,
) -> anyhow::Result<(Option<String>, T)> {
    let set = KeySet::parse(text);
    let mut set = set.map_err(|why| anyhow!("the API keys in the store cannot be read{why}"))?;
    files.add_to(&mut set);
    let outcome = change(&mut set)?;
    let new = set.text().map_err(anyhow::Error::msg)?;
    Ok(((new != text).then_some(new), outcome))
}

/// Returns the name of a configured key. A key without a name is named after its position.
fn configured_name(index: usize, key: &ConfiguredKey) -> String {
    match &key.name {
        Some(name) => name.clone(),
        None => format!("auth.api_keys[{}]", index + 1),
    }
}

impl fmt::Display for KeySources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match &self.first {
            Some((path, true)) => parts.push(format!("made just now, in the file {}", path.display())),
            Some((path, false)) => parts.push(format!("in the file {}", path.display())),
            None => {}
        }
        if self.configured > 0 {
            parts.push(format!("{} configured (auth.api_keys)", self.configured));
        }
        if self.named > 0 {
            parts.push(format!("{} named (mynah api-key list)", self.named));
        }
        if parts.is_empty() {
            parts.push("none: the API is closed until `mynah api-key add` makes one".to_owned());
        }
        f.write_str(&parts.join("; "))
    }
}
