//! API keys: who may call the API, and what for. They come from the configuration and from two files of the data directory, which every
//! call looks at again (two `stat`s): what was added, replaced or taken away counts for the next call.
//!
//! Invariants: only digests are kept, all of them are compared, in constant time; files that cannot be used change nothing, the last
//! good keys stay; where there is no key at all, nobody gets in.

mod command;
mod disk;
mod error;
mod file;
mod first;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod refusals;
mod stamp;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;

pub use command::{KeyCommand, Lifetime, Said};
use error::FileError;
use refusals::Refusals;
use stamp::Stamp;

use crate::config::{ConfiguredKey, KeyDigest, Scopes, Secret};
use crate::time::UnixMillis;
use mynah_store::private;

/// Configured keys that are shorter than this can be guessed.
const SHORT_BYTES: usize = 20;

/// The files with keys in a data directory. A backup does not contain them; a restore keeps the keys that are
/// in force.
pub const FILES: [&str; 2] = [first::FILE, file::FILE];

/// The keys that open the API.
#[derive(Debug)]
pub struct ApiKeys {
    configured: Vec<Known>,
    directory: Option<Directory>,
    loaded: RwLock<Loaded>,
    refusals: Refusals,
}

/// A key, as far as it is known.
#[derive(Debug, Clone)]
struct Known {
    name: Arc<str>,
    scopes: Scopes,
    digest: KeyDigest,
    /// From then on it is refused.
    expires: Option<UnixMillis>,
}

/// The files of a data directory.
#[derive(Debug)]
struct Directory {
    named: PathBuf,
    /// The key of the first start; not in force beside configured ones.
    first: Option<PathBuf>,
}

/// What was read last.
#[derive(Debug)]
struct Loaded {
    keys: Vec<Known>,
    seen: [Stamp; 2],
    /// A later change would change the stamps too; until then the files are read again.
    settled: bool,
    /// Why they could not be read since.
    failure: Option<String>,
}

/// What a key allows.
#[derive(Debug, Clone)]
pub struct Granted {
    /// Its name.
    pub name: Arc<str>,
    /// What it may do.
    pub scopes: Scopes,
}

/// Why a key allows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// There is no such key.
    Unknown,
    /// Its time is over.
    Expired,
}

/// From where the keys come; written for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySources {
    configured: usize,
    named: usize,
    /// The file of the first start's key, and whether it was made just now.
    first: Option<(PathBuf, bool)>,
}

impl ApiKeys {
    /// These keys of the configuration, and none besides. Entries that are wrong ([`ConfiguredKey::parse`]) open nothing.
    pub fn new(configured: &[Secret]) -> Self {
        let entries = configured.iter().map(ConfiguredKey::parse).enumerate();
        let configured = entries
            .filter_map(|(index, entry)| {
                let entry = entry.ok()?;
                Some(Known {
                    name: configured_name(index, &entry).into(),
                    scopes: entry.scopes,
                    digest: entry.digest,
                    expires: None,
                })
            })
            .collect();
        Self {
            configured,
            directory: None,
            loaded: RwLock::new(Loaded {
                keys: Vec::new(),
                seen: [Stamp::Absent; 2],
                settled: true,
                failure: None,
            }),
            refusals: Refusals::default(),
        }
    }

    /// The configured keys and those that the data directory keeps. Where there is none of either sort, one is made.
    pub fn open(configured: &[Secret], data: &Path, now: UnixMillis) -> io::Result<(Self, KeySources)> {
        let directory = Directory {
            named: data.join(file::FILE),
            first: configured.is_empty().then(|| data.join(first::FILE)),
        };
        for (index, key) in configured.iter().enumerate() {
            if key.expose().len() < SHORT_BYTES {
                tracing::warn!(
                    "auth.api_keys: key number {} can be guessed, it is shorter than {SHORT_BYTES} characters: take what `mynah api-key add` makes",
                    index + 1
                );
            }
        }
        private::tighten(data, &FILES);
        let mut made = false;
        if let Some(first) = &directory.first
            && !directory.named.try_exists()?
            && !first.try_exists()?
        {
            first::make(data, first)?;
            made = true;
        }
        let mut keys = Self::new(configured);
        let loaded = directory.load(now).map_err(io::Error::from)?;
        directory.warn_of_modes(&loaded.seen);
        let sources = KeySources {
            configured: keys.configured.len(),
            named: loaded.keys.iter().filter(|key| &*key.name != first::NAME).count(),
            first: directory
                .first
                .clone()
                .filter(|path| path.exists())
                .map(|path| (path, made)),
        };
        keys.directory = Some(directory);
        keys.loaded = RwLock::new(loaded);
        Ok((keys, sources))
    }

    /// What `offered` allows at the moment `now`; takes the same time whichever key it is, or none.
    pub fn check(&self, offered: &str, now: UnixMillis) -> Result<Granted, Denied> {
        self.refresh(now);
        let offered = KeyDigest::of(offered);
        let loaded = self.loaded.read();
        let mut outcome = Err(Denied::Unknown);
        for key in self.configured.iter().chain(&loaded.keys) {
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

    /// Reads the files again if they have changed.
    pub fn refresh(&self, now: UnixMillis) {
        let Some(directory) = &self.directory else { return };
        let stamps = directory.stamps();
        let current = |loaded: &Loaded| loaded.settled && loaded.seen == stamps;
        if current(&self.loaded.read()) {
            return;
        }
        let mut loaded = self.loaded.write();
        if !current(&loaded) {
            Self::load(directory, stamps, &mut loaded, self.configured.len(), now);
        }
    }

    /// Reads the files again, whether they have changed or not.
    pub fn reload(&self, now: UnixMillis) {
        if let Some(directory) = &self.directory {
            let mut loaded = self.loaded.write();
            Self::load(
                directory,
                directory.stamps(),
                &mut loaded,
                self.configured.len(),
                now,
            );
        }
    }

    /// Reads the files of `directory`, beside `configured` other keys. What cannot be read changes nothing.
    fn load(
        directory: &Directory,
        stamps: [Stamp; 2],
        loaded: &mut Loaded,
        configured: usize,
        now: UnixMillis,
    ) {
        match directory.load(now) {
            Ok(anew) => {
                if loaded.seen != anew.seen || loaded.failure.is_some() {
                    directory.warn_of_modes(&anew.seen);
                    let keys = configured + anew.keys.len();
                    tracing::info!(keys, "the API keys were read again, there are {keys}");
                    if keys == 0 {
                        tracing::warn!(
                            "no API key is left: the API is closed to everybody until `mynah api-key add` makes one"
                        );
                    }
                }
                *loaded = anew;
            }
            Err(error) => {
                // A text that is wrong stays so until it changes; what the system did not give may be there the next time.
                loaded.settled = matches!(error, FileError::Text(_)) && stamp::settled(&stamps, now);
                loaded.seen = stamps;
                let failure = error.to_string();
                if loaded.failure.as_ref() != Some(&failure) {
                    tracing::error!(
                        "the API keys cannot be read, the last good ones stay in force: {failure}"
                    );
                }
                loaded.failure = Some(failure);
            }
        }
    }

    /// Whether the files could not be used when they were looked at last, so that older keys are in force.
    pub fn is_stale(&self) -> bool {
        self.loaded.read().failure.is_some()
    }

    /// Tells the operator of a refused call, now and then. `reason` is one of a few words, and nothing that a caller sent.
    pub(crate) fn note_refusal(&self, reason: &'static str, now: Instant) {
        if let Some(calls) = self.refusals.note(now) {
            tracing::warn!(
                calls,
                reason,
                "{calls} calls of the API were refused since this was last said, the last one for its key: {reason}"
            );
        }
    }
}

impl Directory {
    fn stamps(&self) -> [Stamp; 2] {
        let first = self.first.as_deref().map_or(Stamp::Absent, Stamp::of);
        [Stamp::of(&self.named), first]
    }

    fn warn_of_modes(&self, [named, first]: &[Stamp; 2]) {
        // Digests may be read, but whoever writes that file makes keys.
        stamp::warn_of_mode(named, &self.named, 0o022);
        if let Some(path) = &self.first {
            stamp::warn_of_mode(first, path, 0o077);
        }
    }

    /// All or nothing.
    fn load(&self, now: UnixMillis) -> Result<Loaded, FileError> {
        // First the stamps: what changes while the files are read is read again.
        let seen = self.stamps();
        let mut keys = Vec::new();
        for key in file::read(&self.named)?.unwrap_or_default().keys {
            let previous = key.previous.iter().map(|previous| Known {
                name: format!("{} (previous)", key.name).into(),
                scopes: key.scopes,
                digest: previous.digest,
                expires: Some(previous.expires.0),
            });
            keys.extend(previous);
            keys.push(Known {
                name: key.name.into(),
                scopes: key.scopes,
                digest: key.digest,
                expires: key.expires.map(|moment| moment.0),
            });
        }
        if let Some(path) = &self.first
            && let Some(digest) = first::read(path)?
        {
            keys.push(Known {
                name: first::NAME.into(),
                scopes: Scopes::ALL,
                digest,
                expires: None,
            });
        }
        Ok(Loaded {
            keys,
            settled: stamp::settled(&seen, now),
            seen,
            failure: None,
        })
    }
}

/// How a configured key is called that has no name of its own.
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
