//! Reading and replacing small files that others must not write.
//!
//! Invariant: a file is replaced in one step, so that whoever reads it sees what was there before or all of what is there now.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use crate::text::without_mark;

/// The text of a file of at most `most` bytes, if it is there.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Option<String>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(error)),
    };
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text).map_err(named)?;
    if text.len() as u64 > most {
        let long = io::Error::new(io::ErrorKind::InvalidData, format!("has more than {most} bytes"));
        return Err(named(long));
    }
    Ok(Some(without_mark(&text).to_owned()))
}

/// Writes a file that only its owner can read.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    match std::fs::remove_file(unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(unfinished)?;
    let directory = File::open(path.parent().unwrap_or(Path::new(".")))?;
    give(&file, &directory)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(unfinished, path)?;
    // Only with its directory synced too is the new file there after a power failure.
    directory.sync_all()
}

/// Waits until nobody else changes what is beside `path`; until the returned file is dropped nobody else does.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    give(&file, &File::open(path.parent().unwrap_or(Path::new(".")))?)?;
    file.lock()?;
    Ok(file)
}

/// A file that root makes in the directory of another user becomes that user's: the server, which runs as that user, must read it.
fn give(file: &File, directory: &File) -> io::Result<()> {
    let (ours, theirs) = (file.metadata()?, directory.metadata()?);
    if ours.uid() == theirs.uid() {
        return Ok(());
    }
    fchown(file, Some(theirs.uid()), Some(theirs.gid())).map_err(|error| {
        let sentence = format!("the data directory belongs to another user; run this as that user ({error})");
        io::Error::new(error.kind(), sentence)
    })
}
