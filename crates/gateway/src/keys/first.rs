//! The key that is made at the first start: the file `api-key`, which holds the key itself, for scripts on the same machine.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::disk;
use super::error::FileError;
use crate::config::{KeyDigest, MAX_KEY_BYTES};
use crate::text::hex;

/// Its file in the data directory.
pub(super) const FILE: &str = "api-key";
/// How it is called; no other key may have this name.
pub(super) const NAME: &str = "api-key";
/// What all keys that we make begin with, so that those who look for secrets in the wrong places recognise them.
const PREFIX: &str = "mynah_";

/// The digest of the key that the file holds, if it is there.
pub(super) fn read(path: &Path) -> Result<Option<KeyDigest>, FileError> {
    let Some(text) = disk::read(path, MAX_KEY_BYTES as u64 + 2)? else {
        return Ok(None);
    };
    let key = text.trim();
    if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(FileError::Text(format!(
            "{} holds no key, which is printable ASCII characters without spaces; remove the file to have a new one made at the next start",
            path.display()
        )));
    }
    Ok(Some(KeyDigest::of(key)))
}

/// A new key: 256 random bits.
pub(super) fn draw() -> io::Result<String> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!("{PREFIX}{}", hex(&random)))
}

/// Draws a key and keeps it.
pub(super) fn make(data: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(data)?;
    disk::replace(path, &format!("{}\n", draw()?))
}
