//! `mynah restore`: puts a backup in the place of a data directory.
//!
//! A new directory is made beside the old one, filled, checked and synced, and then changes places with it in one step. Invariants: whatever
//! happens, and whenever the process is killed, the old directory or the whole new one is there; the old one is kept; the new one has an
//! epoch that no store had before, so that clients drop positions of messages that it does not have.

use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::backup::{beside, is_same, is_unknown};
use super::epoch::{self, Change};
use super::witness::{self, Identity, Record, Stamp, Witness};
use super::{open, schema};
use crate::private;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The directory that it replaced, as it is called now; `None` if there was none.
    pub kept: Option<PathBuf>,
    /// Messages in the store.
    pub messages: u64,
    /// Its epoch.
    pub epoch: String,
}

/// Puts `file` in the place of the store in `directory`. `time` becomes part of the name of what it replaces; `carried` are names of files
/// that the new directory takes over from the old one.
pub fn restore(directory: &Path, file: &Path, time: &str, carried: &[&str]) -> anyhow::Result<Restored> {
    let directory = resolve(directory)?;
    let old = directory.symlink_metadata().ok();
    // Held until the end, so that no server begins to use what is being replaced.
    let _lock = old.as_ref().map(|_| open::lock(&directory)).transpose()?;
    let parent = directory.parent().unwrap_or(Path::new("/")).to_owned();
    if let Some(old) = &old
        && std::fs::metadata(&parent)?.dev() != old.dev()
    {
        bail!(
            "{} is a mount point, which cannot be put aside and kept; let store.path be a directory inside of it",
            directory.display()
        );
    }
    is_idle(file, &directory)?;
    let staging = unused(&directory, &format!(".restoring-{time}"));
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
        .create(&staging)
        .with_context(|| format!("{} cannot be made", staging.display()))?;
    let filled = fill(
        &staging,
        file,
        old.as_ref().map(|old| (directory.as_path(), old)),
        carried,
    )
    .and_then(|restored| Ok((swap(&staging, &directory, old.is_some(), time)?, restored)));
    match filled {
        Ok((kept, (messages, epoch))) => {
            File::open(&parent)?.sync_all()?;
            Ok(Restored {
                kept,
                messages,
                epoch,
            })
        }
        Err(error) => {
            // It was made above, and the old directory has not moved.
            let _ = std::fs::remove_dir_all(&staging);
            Err(error)
        }
    }
}

/// The directory itself, where the path leads to it by links. Its parent is made if it is not there.
fn resolve(directory: &Path) -> anyhow::Result<PathBuf> {
    if directory.exists() {
        let found = std::fs::canonicalize(directory)?;
        if !found.is_dir() {
            bail!(
                "{} is not a directory; name another one with --data",
                directory.display()
            );
        }
        return Ok(found);
    }
    let directory = std::path::absolute(directory)?;
    if let Some(parent) = directory.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    Ok(directory)
}

/// Refuses the database of a server that is running: a part of it would be copied.
fn is_idle(file: &Path, directory: &Path) -> anyhow::Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let is_ours = file.file_name().is_some_and(|name| name == open::FILE);
    if !is_ours || is_same(parent, directory) || !parent.join(open::LOCK).exists() {
        return Ok(());
    }
    open::lock(parent).map(drop).with_context(|| {
        format!(
            "{} belongs to a server that is running; copy it with `mynah backup`",
            file.display()
        )
    })
}

/// Makes the new directory. Returns the messages in it, and its epoch.
fn fill(
    staging: &Path,
    file: &Path,
    old: Option<(&Path, &Metadata)>,
    carried: &[&str],
) -> anyhow::Result<(u64, String)> {
    let database = staging.join(open::FILE);
    copy(file, &database).with_context(|| format!("{} cannot be copied", file.display()))?;
    // A database that was copied by hand may have its newest changes beside it.
    let log = beside(file, "-wal");
    if log.is_file() {
        copy(&log, &staging.join(open::LOG))
            .with_context(|| format!("{} cannot be copied", log.display()))?;
    }
    let (messages, found, epoch) = renew(&database, file)?;
    File::open(&database)?.sync_all()?;
    let now = std::fs::metadata(&database)?;
    let witness = Witness::open(&staging.join(witness::FILE))?.0;
    witness.begin(Record {
        epoch: epoch.clone(),
        mark: found.mark,
        database: Identity::of(&now),
        itself: witness.identity()?,
        boot: witness::boot(),
        closed: true,
        stamp: Some(Stamp::of(&now)),
        ..Record::default()
    })?;
    if let Some((directory, owner)) = old {
        for name in carried {
            let path = directory.join(name);
            if path.symlink_metadata().is_ok_and(|found| found.is_file()) {
                copy(&path, &staging.join(name))
                    .with_context(|| format!("{} cannot be copied", path.display()))?;
            }
        }
        give(staging, owner)?;
    }
    File::open(staging)?.sync_all()?;
    Ok((messages, epoch))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = private::create(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()
}

/// Checks the whole database and gives it a new epoch.
fn renew(database: &Path, file: &Path) -> anyhow::Result<(u64, epoch::Found, String)> {
    let damaged = || format!("{} is not a backup of Mynah, or is damaged", file.display());
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let id = pragma("application_id").with_context(damaged)?;
    let version = pragma("user_version").with_context(damaged)?;
    if id != schema::APPLICATION_ID {
        bail!("{} is not a backup of Mynah", file.display());
    }
    if version > schema::VERSION {
        bail!(
            "{} has format {version}, this program knows formats up to {}; use the newer program that wrote it",
            file.display(),
            schema::VERSION
        );
    }
    let detail: String = db
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .with_context(damaged)?;
    if detail != "ok" {
        bail!("{} is damaged ({detail}); use another backup", file.display());
    }
    schema::migrate(&db, version)?;
    let found = epoch::find(&db)?;
    let epoch = epoch::fresh();
    epoch::write(&db, &found, &epoch, Some(Change::Restored))?;
    let messages: i64 = db.query_row("SELECT count(*) FROM messages", [], |row| row.get(0))?;
    db.close().map_err(|(_, error)| error)?;
    Ok((messages.unsigned_abs(), found, epoch))
}

/// Gives the new directory and its files to the owner of the old one: the server, which runs as that user, must be able to write them.
fn give(staging: &Path, owner: &Metadata) -> anyhow::Result<()> {
    let made = std::fs::metadata(staging)?;
    if (made.uid(), made.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    let entries = std::fs::read_dir(staging)?.map(|entry| entry.map(|entry| entry.path()));
    for path in entries.chain([Ok(staging.to_owned())]) {
        chown(path?, Some(owner.uid()), Some(owner.gid()))
            .context("the data directory belongs to another user; run this as that user")?;
    }
    Ok(())
}

/// A path beside another that nobody uses: with the ending, or with a number behind it.
fn unused(path: &Path, ending: &str) -> PathBuf {
    let mut free = beside(path, ending);
    let mut number = 1;
    while free.symlink_metadata().is_ok() {
        number += 1;
        free = beside(path, &format!("{ending}-{number}"));
    }
    free
}

/// Puts the new directory in its place. Returns where the old one is now.
fn swap(staging: &Path, directory: &Path, replaces: bool, time: &str) -> anyhow::Result<Option<PathBuf>> {
    let failed = || format!("{} cannot be put in its place", directory.display());
    if !replaces {
        std::fs::rename(staging, directory).with_context(failed)?;
        return Ok(None);
    }
    let mut kept = unused(directory, &format!(".before-restore-{time}"));
    match renameat_with(CWD, staging, CWD, directory, RenameFlags::EXCHANGE) {
        // The backup is in place now. The old directory is kept in any case, if need be under the name of the new one.
        Ok(()) if std::fs::rename(staging, &kept).is_err() => kept = staging.to_owned(),
        Ok(()) => {}
        Err(error) if is_unknown(error) => {
            // A kill between the two leaves both directories, and none in the place.
            std::fs::rename(directory, &kept).with_context(failed)?;
            if let Err(error) = std::fs::rename(staging, directory) {
                std::fs::rename(&kept, directory).with_context(failed)?;
                return Err(error).with_context(failed);
            }
        }
        Err(error) => return Err(io::Error::from(error)).with_context(failed),
    }
    Ok(Some(kept))
}
