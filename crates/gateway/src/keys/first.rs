//! The key that is made at the first start. The file `api-key` holds the key itself, for scripts on the same
//! machine.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::bail;
use mynah_store::private;

use crate::config::{KeyDigest, is_key};
use crate::text::hex;

/// The file of the key in the data directory.
pub(super) const FILE: &str = "api-key";
/// The name of the key, which no other key may have.
pub(super) const NAME: &str = "api-key";
/// The beginning of all keys that we make, so that scanners for secrets recognise them.
const PREFIX: &str = "mynah_";

/// Returns the digest of the key in the text of the file.
pub(super) fn digest(text: &str) -> anyhow::Result<KeyDigest> {
    let key = text.trim();
    if !is_key(key) {
        bail!(
            "a key is printable ASCII characters without spaces; remove the file, or write such a key into it"
        );
    }
    Ok(KeyDigest::of(key))
}

/// Makes a new key of 256 random bits.
pub(super) fn draw() -> io::Result<String> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!("{PREFIX}{}", hex(&random)))
}

/// Removes a file, unless it does not exist.
pub(super) fn remove_if_exists(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a key and its file. The file appears in one step, so that nobody reads a part of it. Links are not
/// followed.
pub(super) fn make(data: &Path) -> io::Result<KeyDigest> {
    let unfinished = data.join(format!("{FILE}.new"));
    remove_if_exists(&unfinished)?;
    let key = draw()?;
    let mut file = private::create(&unfinished)?;
    writeln!(file, "{key}")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, data.join(FILE))?;
    // The new name survives a power failure only if the directory is synced too.
    File::open(data)?.sync_all()?;
    Ok(KeyDigest::of(&key))
}
