//! `mynah backup`: copies the store to one file, whether the server runs or not.
//!
//! Invariants: the file contains what was committed at one moment, except settings (API keys), and nothing
//! else; it is complete or does not exist; only its owner may read it; the store is only read. The file is a
//! database without a WAL: `mynah restore` accepts it, and SQLite's tools can read it.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use mynah_store::private;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::failure::is_full;
use super::{open, schema, settings};

/// How long another program may lock the database before the backup fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// The suffix of an unfinished file: it follows the final name and precedes the number of the process.
const UNFINISHED: &str = ".unfinished-";

/// A backup that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// Number of messages in the file.
    pub messages: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Copies the store in `directory` to `file`, which must not exist unless `force` is given.
pub fn backup(directory: &Path, file: &Path, force: bool) -> anyhow::Result<Backup> {
    let database = directory.join(open::FILE);
    match std::fs::metadata(&database) {
        Ok(found) if found.is_file() => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let database = database.display();
            let advice = "run this as the user that the server runs as";
            return Err(error).with_context(|| format!("{database} cannot be read; {advice}"));
        }
        _ => {
            let directory = directory.display();
            bail!("there is no store in {directory}; name its directory with --data or store.path");
        }
    }
    open::refuse_log_of_backup(&database, &directory.join(open::LOG))?;
    let file =
        std::path::absolute(file).with_context(|| format!("{} is not a valid path", file.display()))?;
    let (is_there, shown) = (file.symlink_metadata().is_ok(), file.display());
    if is_there && std::fs::metadata(&file).is_ok_and(|found| !found.is_file()) {
        bail!("{shown} is a directory, a device or a pipe; name a file");
    }
    if !force && is_there {
        bail!("{shown} exists already; name another file, or replace it with --force");
    }
    let parent = file.parent().unwrap_or(Path::new("/"));
    if is_same(parent, directory) {
        bail!(
            "the backup must not be in the data directory; name a file elsewhere, preferably on another disk"
        );
    }
    tidy(&file);
    let (process, unique) = (std::process::id(), uuid::Uuid::now_v7().simple());
    let unfinished = beside(&file, &format!("{UNFINISHED}{process}-{unique}"));
    let written = write(&database, &unfinished).and_then(|backup| {
        publish(&unfinished, &file, force).with_context(|| format!("{shown} cannot be written"))?;
        Ok(backup)
    });
    if written.is_err() {
        // An incomplete file is useless. The error that is returned says what went wrong.
        for path in [beside(&unfinished, "-journal"), unfinished] {
            let _ = std::fs::remove_file(path);
        }
    }
    written
}

/// Removes what earlier backups to the same file have left when they were killed. The files of running
/// processes are kept: each process writes a file of its own.
fn tidy(file: &Path) {
    let Some(name) = file.file_name() else { return };
    let begins = [name.as_bytes(), UNFINISHED.as_bytes()].concat();
    let entries = file.parent().and_then(|parent| std::fs::read_dir(parent).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name
            .as_bytes()
            .strip_prefix(begins.as_slice())
            .and_then(|rest| rest.split(|byte| *byte == b'-').next())
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
        // In a container, a process often has the same number as the one before it.
        let is_over = |id: u32| id == std::process::id() || !Path::new(&format!("/proc/{id}")).exists();
        if process.is_some_and(is_over) {
            // If this fails, the file stays, which does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn write(database: &Path, unfinished: &Path) -> anyhow::Result<Backup> {
    // The file is created first, so that it has its mode before it has content: SQLite then fills the empty
    // file.
    private::create(unfinished).with_context(|| format!("{} cannot be created", unfinished.display()))?;
    let copy = || -> rusqlite::Result<(i32, u64)> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(database, flags)?;
        db.busy_timeout(PATIENCE)?;
        // Without a server this is the last connection, which would otherwise move the WAL into the database.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let id = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if id != schema::APPLICATION_ID {
            return Ok((id, 0));
        }
        // Passed as bytes, because a path need not be UTF-8.
        let path = ToSqlOutput::Borrowed(ValueRef::Text(unfinished.as_os_str().as_bytes()));
        db.execute("VACUUM INTO ?1", [path])?;
        let copy = Connection::open_with_flags(unfinished, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        copy.pragma_update(None, "secure_delete", true)?;
        if !settings::all(&copy)?.is_empty() {
            settings::replace(&copy, &[])?;
        }
        let messages: i64 = copy.query_row("SELECT count(*) FROM messages", [], |row| row.get(0))?;
        Ok((id, messages.unsigned_abs()))
    };
    let (id, messages) = copy().map_err(|error| match is_full(&error) {
        true => anyhow!(
            "the disk of {} is full; free some space, or name a file on another disk",
            unfinished.parent().unwrap_or(unfinished).display()
        ),
        false => anyhow!(
            "{} cannot be copied: {error}; if it was replaced by hand beside a {}, move that away",
            database.display(),
            open::LOG
        ),
    })?;
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

/// Renames the finished file to its final name, and syncs the directory.
fn publish(unfinished: &Path, file: &Path, force: bool) -> io::Result<()> {
    if force {
        std::fs::rename(unfinished, file)?;
    } else {
        // A file that was created in the meantime is not replaced.
        match renameat_with(CWD, unfinished, CWD, file, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(error) if is_unknown(error) => std::fs::rename(unfinished, file)?,
            Err(error) => return Err(error.into()),
        }
    }
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Returns whether the file system does not support this way of renaming.
pub(super) fn is_unknown(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Returns the path with a suffix appended to its name.
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
