//! Reads the files with keys of a data directory: `api-key`, and `api-keys.toml` of earlier versions. Their
//! keys are added to the store at each start, by each `mynah api-key`, and on SIGHUP.
//!
//! Invariants: either all keys of a file are added or none; `api-keys.toml` is removed once its keys are in
//! the store; a key of the store is not replaced by one of the same name in `api-keys.toml`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, anyhow};

use super::first;
use super::set::{KeySet, NamedKey};
use crate::config::KeyDigest;
use crate::text::without_mark;

/// The file with the named keys of earlier versions.
pub(super) const NAMED: &str = "api-keys.toml";
/// The file that earlier versions locked while they changed `api-keys.toml`.
const LOCK: &str = "api-keys.lock";
/// The maximum size of a file, in bytes.
const MOST_BYTES: u64 = 2 << 20;

/// The keys of the files.
#[derive(Default)]
pub(super) struct Files {
    named: Option<KeySet>,
    first: Option<KeyDigest>,
}

impl Files {
    /// Reads the files of a data directory.
    pub(super) fn read(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(NAMED);
        let named = read(&path)?
            .map(|text| KeySet::parse(&text))
            .transpose()
            .map_err(|why| anyhow!("{}{why}", path.display()))?;
        let path = data.join(first::FILE);
        let first = read(&path)?
            .map(|text| first::digest(&text))
            .transpose()
            .with_context(|| format!("{} is not valid", path.display()))?;
        Ok(Self { named, first })
    }

    /// Adds the keys to those of the store.
    pub(super) fn add_to(&self, set: &mut KeySet) {
        if let Some(named) = &self.named {
            set.is_new = false;
            let is_new = |key: &&NamedKey| set.keys.iter().all(|known| known.name != key.name);
            let new: Vec<_> = named.keys.iter().filter(is_new).cloned().collect();
            set.keys.extend(new);
        }
        set.first = self.first.or(set.first);
    }

    /// Removes the files of earlier versions, after their keys were stored.
    pub(super) fn taken_over(data: &Path) -> anyhow::Result<()> {
        for name in [NAMED, LOCK] {
            let path = data.join(name);
            first::remove_if_exists(&path)
                .with_context(|| format!("{} is not used any more: remove it", path.display()))?;
        }
        Ok(())
    }
}

/// Returns the text of a file, if the file exists.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| path.display().to_string())?,
    };
    let mut text = String::new();
    file.take(MOST_BYTES + 1)
        .read_to_string(&mut text)
        .with_context(|| path.display().to_string())?;
    if text.len() as u64 > MOST_BYTES {
        return Err(anyhow!("{} has more than {MOST_BYTES} bytes", path.display()));
    }
    Ok(Some(without_mark(&text).to_owned()))
}
