//! Reading and replacing small files that others must not write.
//!
//! Invariants: a file is replaced in one step, so that whoever reads it sees what was there before or all of what is there now; only a file
//! that was made here just now, or one without content, is given to another user, and no link is followed by whoever writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use rustix::fs::OFlags;

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
    let (mut file, directory) = made(unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(unfinished, path)?;
    // Only with its directory synced too is the new file there after a power failure.
    directory.sync_all()
}

/// Waits until nobody else changes what is beside `path`; until the returned file is dropped nobody else does.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    let file = match made(path) {
        Ok((file, _)) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => existing(path)?,
        Err(error) => return Err(error),
    };
    file.lock()?;
    Ok(file)
}

/// Makes a file, where there must be none yet, and no link either; also returns its directory.
fn made(path: &Path) -> io::Result<(File, File)> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path)?;
    let directory = directory_of(path)?;
    give(&file, &directory)?;
    Ok((file, directory))
}

/// Opens a file to write it. Whoever owns the directory may have put something else there, to have root change what the owner may not: a link
/// is not followed, and a pipe is not waited for.
fn existing(path: &Path) -> io::Result<File> {
    let no_regular_file = || {
        let sentence = format!("{} is not a regular file: remove it", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, sentence)
    };
    if !path.symlink_metadata()?.is_file() {
        return Err(no_regular_file());
    }
    // It may have been replaced since it was looked at.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.write(true).custom_flags(flags.bits() as i32).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(no_regular_file());
    }
    // The directory may have got another owner since. A file that is empty and has no other name gives nothing away.
    if found.len() == 0 && found.nlink() == 1 {
        give(&file, &directory_of(path)?)?;
    }
    Ok(file)
}

fn directory_of(path: &Path) -> io::Result<File> {
    File::open(path.parent().unwrap_or(Path::new(".")))
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_lock_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        drop(lock(&path).unwrap());
        fs::write(&path, "kept").unwrap();
        drop(lock(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
    }

    /// The owner of a directory must not get a file of root by having root run a command there.
    #[test]
    fn no_link_is_followed_and_nothing_that_was_there_is_given_away() {
        let dir = tempfile::tempdir().unwrap();
        let (data, victim) = (dir.path().join("data"), dir.path().join("victim"));
        fs::create_dir(&data).unwrap();
        fs::write(&victim, "precious").unwrap();
        let owner = victim.metadata().unwrap().uid();
        if rustix::process::geteuid().is_root() {
            chown(&data, Some(12_345), Some(12_345)).unwrap();
        } else {
            eprintln!("SKIPPED in part: only root can give files away");
        }
        let (link, hard, own) = (data.join("link"), data.join("hard"), data.join("own"));
        symlink(&victim, &link).unwrap();
        symlink(dir.path().join("nowhere"), data.join("dangling")).unwrap();
        fs::hard_link(&victim, &hard).unwrap();
        for there in [&link, &data.join("dangling"), &data] {
            let why = lock(there).unwrap_err().to_string();
            assert!(why.contains("not a regular file"), "{why}");
        }
        drop(lock(&hard).unwrap());
        symlink(&victim, data.join("api-keys.toml.new")).unwrap();
        symlink(&victim, data.join("api-keys.toml")).unwrap();
        replace(&data.join("api-keys.toml"), "new").unwrap();
        assert_eq!(victim.metadata().unwrap().uid(), owner);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(!dir.path().join("nowhere").exists());
        drop(lock(&own).unwrap());
        let given = data.metadata().unwrap().uid();
        for file in [own, data.join("api-keys.toml")] {
            assert_eq!(
                file.symlink_metadata().unwrap().uid(),
                given,
                "{}",
                file.display()
            );
        }
    }
}
