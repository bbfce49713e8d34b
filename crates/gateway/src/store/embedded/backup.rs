//! `mynah backup`: the record as one file, while the server runs or not.
//!
//! Invariants: the file shows one moment, and only what was committed then; it is complete or not there; nobody but its owner may read it; the
//! store is only read. It is a store's database without its log: `mynah restore` takes it, and SQLite's tools read it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{open, schema};
use crate::private;

/// How long another program may hold the database before the backup is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// Messages in it.
    pub messages: u64,
    /// Its length.
    pub bytes: u64,
}

/// Writes the store of `directory` to `file`, which must not be there unless it is to be replaced (`force`).
pub fn backup(directory: &Path, file: &Path, force: bool) -> anyhow::Result<Backup> {
    let database = directory.join(open::FILE);
    if !database.is_file() {
        bail!(
            "there is no store in {}; name its directory with --data or store.path",
            directory.display()
        );
    }
    let file = std::path::absolute(file).with_context(|| format!("{} is no path", file.display()))?;
    if !force && file.symlink_metadata().is_ok() {
        bail!(
            "{} exists already; name another file, or replace it with --force",
            file.display()
        );
    }
    let parent = file.parent().unwrap_or(Path::new("/"));
    if is_same(parent, directory) {
        bail!(
            "the backup must not be in the data directory; name a file elsewhere, preferably on another disk"
        );
    }
    let unfinished = beside(&file, ".unfinished");
    remove(&unfinished).with_context(|| format!("{} cannot be replaced", unfinished.display()))?;
    let written = write(&database, &unfinished).and_then(|backup| {
        publish(&unfinished, &file, force)
            .with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(backup)
    });
    if written.is_err() {
        // What there is of it is of no use; the error says what happened.
        let _ = remove(&unfinished);
    }
    written
}

/// Removes what a backup that was not finished has left, with the journal that SQLite keeps beside it.
fn remove(unfinished: &Path) -> io::Result<()> {
    for path in [unfinished.to_owned(), beside(unfinished, "-journal")] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn write(database: &Path, unfinished: &Path) -> anyhow::Result<Backup> {
    // First, so that it has its mode before anything is in it: SQLite fills an empty file.
    private::create(unfinished).with_context(|| format!("{} cannot be made", unfinished.display()))?;
    let copy = || -> rusqlite::Result<(i32, u64)> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(database, flags)?;
        db.busy_timeout(PATIENCE)?;
        // Without a server this is the last connection, which would otherwise move the log into the database.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let id = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if id != schema::APPLICATION_ID {
            return Ok((id, 0));
        }
        db.execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])?;
        let copy = Connection::open_with_flags(unfinished, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let messages: i64 = copy.query_row("SELECT count(*) FROM messages", [], |row| row.get(0))?;
        Ok((id, messages.unsigned_abs()))
    };
    let (id, messages) = copy().with_context(|| format!("{} cannot be copied", database.display()))?;
    if id != schema::APPLICATION_ID {
        bail!("{} is not a Mynah store", database.display());
    }
    let written = File::open(unfinished)?;
    written.sync_all()?;
    Ok(Backup {
        messages,
        bytes: written.metadata()?.len(),
    })
}

/// Gives the finished file its name, for good.
fn publish(unfinished: &Path, file: &Path, force: bool) -> io::Result<()> {
    if force {
        std::fs::rename(unfinished, file)?;
    } else {
        // One that has come meanwhile stays.
        match renameat_with(CWD, unfinished, CWD, file, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(error) if is_unknown(error) => std::fs::rename(unfinished, file)?,
            Err(error) => return Err(error.into()),
        }
    }
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// The file system knows no such way of renaming.
pub(super) fn is_unknown(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// A path with something behind its name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    std::fs::canonicalize(one)
        .ok()
        .is_some_and(|one| std::fs::canonicalize(other).is_ok_and(|other| one == other))
}
