//! `mynah restore`: replaces a data directory by a backup.
//!
//! A new directory is created beside the old one, filled, checked and synced, and then the two are exchanged
//! in one step. If the old one cannot be renamed, for example because it is a mount point, only the database
//! is exchanged. Invariants: if the process is killed at any time, either the old store or the complete new
//! one is in place; the old one is kept; the new one has an epoch that was never used before, so that clients
//! drop positions of messages that it does not have; what was revoked stays revoked and settings (API keys)
//! stay in force, if the old store can be read.

use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use mynah_store::{Revocation, Setting, private};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::backup::{beside, is_same, is_unknown};
use super::epoch::{self, Change, StoredHistory};
use super::failure::is_full;
use super::witness::{self, Identity, Record, Stamp, Witness};
use super::{open, revocations, schema, settings};

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The path to which the replaced directory was moved; `None` if there was none.
    pub kept: Option<PathBuf>,
    /// Number of messages in the store.
    pub messages: u64,
    /// The new epoch of the store.
    pub epoch: String,
    /// The number of revocations that were copied from the old store, or why its revocations and settings
    /// could not be read.
    pub revocations: Result<usize, String>,
}

/// Replaces the store in `directory` by `file`. `time` becomes a part of the name of the old one. `carried`
/// are names of files that are copied from the old directory to the new one.
pub fn restore(directory: &Path, file: &Path, time: &str, carried: &[&str]) -> anyhow::Result<Restored> {
    let directory = resolve(directory)?;
    let old = directory.symlink_metadata().ok();
    // The lock is held until the end, so that no server starts to use what is being replaced.
    let _lock = old.as_ref().map(|_| open::lock(&directory)).transpose()?;
    is_idle(file, &directory)?;
    let new = New {
        file,
        time,
        old: old.as_ref(),
    };
    match new.replace_directory(&directory, carried)? {
        Some(restored) => Ok(restored),
        None => new.replace_database(&directory),
    }
}

/// The store that replaces another one.
struct New<'a> {
    file: &'a Path,
    time: &'a str,
    /// The present directory, if there is one.
    old: Option<&'a Metadata>,
}

impl New<'_> {
    /// Replaces the old directory by a new one. Returns `None` if the old one cannot be renamed, because it
    /// is a mount point or its parent directory is not writable.
    fn replace_directory(&self, directory: &Path, carried: &[&str]) -> anyhow::Result<Option<Restored>> {
        let parent = directory.parent().unwrap_or(Path::new("/"));
        let device = std::fs::metadata(parent)?.dev();
        if self.old.is_some_and(|old| old.dev() != device) {
            return Ok(None);
        }
        let staging = unused(directory, &format!(".restoring-{}", self.time));
        match private_directory(&staging) {
            Err(error) if self.old.is_some() && is_forbidden(&error) => return Ok(None),
            made => made.with_context(|| format!("{} cannot be created", staging.display()))?,
        }
        let replaced =
            self.fill(&staging, directory, carried)
                .and_then(|filled| match self.put(&staging, directory) {
                    Err(error) if self.old.is_some() && is_fixed(&error) => Ok(None),
                    exchanged => {
                        exchanged.with_context(|| format!("{} cannot be replaced", directory.display()))?;
                        Ok(Some(filled))
                    }
                });
        let Ok(Some(restored)) = replaced else {
            // This directory was created above, and the old one is still in place.
            let _ = std::fs::remove_dir_all(&staging);
            return replaced.map(|_| None);
        };
        // The backup is in place now. The old directory is kept in any case, under the name of the staging
        // directory if necessary.
        let kept = self.old.map(|_| {
            let kept = unused(directory, &format!(".before-restore-{}", self.time));
            std::fs::rename(&staging, &kept).map_or(staging, |()| kept)
        });
        File::open(parent)?.sync_all()?;
        Ok(Some(Restored { kept, ..restored }))
    }

    /// Puts the new directory in place. If there was none before, a directory that was created in the
    /// meantime is not replaced.
    fn put(&self, staging: &Path, directory: &Path) -> io::Result<()> {
        if self.old.is_some() {
            return exchange(staging, directory);
        }
        match renameat_with(CWD, staging, CWD, directory, RenameFlags::NOREPLACE) {
            Err(error) if is_unknown(error) => std::fs::rename(staging, directory),
            renamed => Ok(renamed?),
        }
    }

    /// Replaces the old database by a new one, and keeps the old one in a directory inside the data
    /// directory.
    fn replace_database(&self, directory: &Path) -> anyhow::Result<Restored> {
        let database = directory.join(open::FILE);
        let kept = unused(&directory.join("before-restore"), &format!("-{}", self.time));
        private_directory(&kept).with_context(|| format!("{} cannot be created", kept.display()))?;
        let replaced = self.fill(&kept, directory, &[]).and_then(|filled| {
            exchange(&kept.join(open::FILE), &database)
                .with_context(|| format!("{} cannot be replaced", database.display()))?;
            Ok(filled)
        });
        let restored = replaced.inspect_err(|_| drop(std::fs::remove_dir_all(&kept)))?;
        // If the process ends here, the next start finds a witness and perhaps a WAL of another database. It
        // then either chooses another new epoch, or says that the WAL must be moved away.
        for name in [open::LOG, open::INDEX] {
            let path = directory.join(name);
            let advice = "the backup is in place; before the server starts, move";
            if path.exists() {
                std::fs::rename(&path, kept.join(name))
                    .with_context(|| format!("{advice} {} away", path.display()))?;
            }
        }
        exchange(&kept.join(witness::FILE), &directory.join(witness::FILE))?;
        File::open(&kept)?.sync_all()?;
        File::open(directory)?.sync_all()?;
        let kept = Some(kept);
        Ok(Restored { kept, ..restored })
    }

    /// Fills a new directory.
    fn fill(&self, staging: &Path, directory: &Path, carried: &[&str]) -> anyhow::Result<Restored> {
        let (file, name) = (self.file.display(), open::FILE);
        if self.file.is_dir() {
            bail!("{file} is a directory; name the backup, or the {name} in it");
        }
        let database = staging.join(open::FILE);
        copy(self.file, &database)?;
        // A database that was copied by hand may have its newest changes in a WAL beside it.
        let log = beside(self.file, "-wal");
        open::refuse_log_of_backup(self.file, &log)?;
        if log.is_file() {
            copy(&log, &staging.join(open::LOG))?;
        }
        let in_force = in_force(directory);
        let (messages, found, epoch) = renew(&database, self.file, in_force.as_ref().ok())?;
        // The lock file is created here, so that it gets the same owner as the other files.
        private::create(&staging.join(open::LOCK))?;
        File::open(&database)?.sync_all()?;
        let now = std::fs::metadata(&database)?;
        let witness = Witness::open(&staging.join(witness::FILE))?.0;
        witness.begin(Record {
            epoch: epoch.clone(),
            history: found.history,
            database: Identity::of(&now),
            itself: witness.identity()?,
            boot: witness::boot(),
            closed: true,
            stamp: Some(Stamp::of(&now)),
            ..Record::default()
        })?;
        if let Some(owner) = self.old {
            for name in carried {
                let path = directory.join(name);
                if path.symlink_metadata().is_ok_and(|found| found.is_file()) {
                    copy(&path, &staging.join(name))?;
                }
            }
            give(staging, owner)?;
        }
        File::open(staging)?.sync_all()?;
        Ok(Restored {
            kept: None,
            messages,
            epoch,
            revocations: in_force
                .map(|in_force| in_force.revocations.len())
                .map_err(|why| format!("{why:#}")),
        })
    }
}

fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Returns whether this user cannot create anything there.
fn is_forbidden(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Returns whether the directory cannot be renamed, because something is mounted on it.
fn is_fixed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices
    )
}

/// Exchanges two files or directories, in one step if the file system supports it. If the destination does
/// not exist, this is a rename.
fn exchange(new: &Path, place: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::NOENT) => std::fs::rename(new, place),
        Err(error) if is_unknown(error) => {
            // If the process is killed in between, both exist, but neither is in place.
            let aside = unused(place, ".old");
            std::fs::rename(place, &aside)?;
            if let Err(error) = std::fs::rename(new, place) {
                std::fs::rename(&aside, place)?;
                return Err(error);
            }
            std::fs::rename(&aside, new)
        }
        Err(error) => Err(error.into()),
    }
}

/// Resolves symbolic links in the path of the directory. Its parent is created if it does not exist.
fn resolve(directory: &Path) -> anyhow::Result<PathBuf> {
    if directory.exists() {
        let found = std::fs::canonicalize(directory)?;
        if !found.is_dir() {
            let directory = directory.display();
            bail!("{directory} is not a directory; name another one with --data");
        }
        return Ok(found);
    }
    let directory = std::path::absolute(directory)?;
    if let Some(parent) = directory.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    Ok(directory)
}

/// Refuses the database of a running server, of which only a part would be copied.
fn is_idle(file: &Path, directory: &Path) -> anyhow::Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let is_ours = file.file_name().is_some_and(|name| name == open::FILE);
    if !is_ours || is_same(parent, directory) || !parent.join(open::LOCK).exists() {
        return Ok(());
    }
    let file = file.display();
    let advice = "copy it with `mynah backup`";
    let lock = open::lock(parent).map(drop);
    lock.with_context(|| format!("{file} belongs to a server that is running; {advice}"))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copy = || {
        let mut copy = private::create(to)?;
        io::copy(&mut File::open(from)?, &mut copy)?;
        copy.sync_all()
    };
    copy().with_context(|| format!("{} cannot be copied", from.display()))
}

/// What stays in force when a store is replaced.
#[derive(Default)]
struct InForce {
    revocations: Vec<Revocation>,
    settings: Vec<Setting>,
}

/// Reads what stays in force of the store that is replaced, without changing its database and WAL.
fn in_force(directory: &Path) -> anyhow::Result<InForce> {
    let database = directory.join(open::FILE);
    if !database.exists() {
        return Ok(InForce::default());
    }
    let has_log = directory.join(open::LOG).exists();
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // As the last connection it would otherwise move the WAL into the database.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
    Ok(InForce {
        revocations: revocations::all(&db, 0)?,
        settings: settings::all(&db)?,
    })
}

/// Checks the whole database, gives it a new epoch, and adds what is `in_force` of the old one.
fn renew(
    database: &Path,
    file: &Path,
    in_force: Option<&InForce>,
) -> anyhow::Result<(u64, StoredHistory, String)> {
    let log = beside(file, "-wal");
    let (file, shown_log) = (file.display(), log.display());
    let advice = match log.is_file() {
        true => format!("if the same server did not write {shown_log}, move that away"),
        false => "use another backup".to_owned(),
    };
    let damaged = || format!("{file} is not a backup of Mynah, or is damaged; {advice}");
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let id = pragma("application_id").with_context(damaged)?;
    let version = pragma("user_version").with_context(damaged)?;
    if id != schema::APPLICATION_ID {
        bail!("{file} is not a backup of Mynah");
    }
    if version > schema::VERSION {
        bail!(
            "{file} has format {version}, but this program supports formats up to {}; use the newer program that has written it",
            schema::VERSION
        );
    }
    if !schema::is_known(version) {
        bail!("{file} has format {version}, which was never released; use another backup");
    }
    let detail: String = db
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .with_context(damaged)?;
    if detail != "ok" {
        bail!("{file} is damaged ({detail}); {advice}");
    }
    let epoch = epoch::fresh();
    let begin = || -> rusqlite::Result<_> {
        schema::migrate(&db, version)?;
        let found = epoch::find(&db)?;
        epoch::write(&db, &found, &epoch, Some(Change::Restored))?;
        // The settings of a database that was copied by hand are those of another directory.
        settings::replace(&db, in_force.map_or(&[], |in_force| &in_force.settings))?;
        for revocation in in_force.iter().flat_map(|in_force| &in_force.revocations) {
            revocations::revoke(&db, 0, revocation)?;
        }
        let messages: i64 = db.query_row("SELECT count(*) FROM messages", [], |row| row.get(0))?;
        Ok((messages.unsigned_abs(), found))
    };
    let (messages, found) = begin().map_err(|error| match error {
        error if is_full(&error) => anyhow!("the disk is full; free some space, and restore again"),
        // The text of this error would contain the whole statement.
        rusqlite::Error::SqlInputError { msg, .. } => anyhow!(msg).context(damaged()),
        error => anyhow!(error).context(damaged()),
    })?;
    db.close().map_err(|(_, error)| error)?;
    Ok((messages, found, epoch))
}

/// Gives the new directory and its files to the owner of the old one, because the server runs as that user
/// and must be able to write them.
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

/// Returns an unused path beside another one: with this suffix, followed by a number if necessary.
fn unused(path: &Path, ending: &str) -> PathBuf {
    let mut free = beside(path, ending);
    let mut number = 1;
    while free.symlink_metadata().is_ok() {
        number += 1;
        free = beside(path, &format!("{ending}-{number}"));
    }
    free
}
