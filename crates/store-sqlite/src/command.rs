//! Reads and changes settings for commands such as `mynah api-key`, whether a server runs or not.
//!
//! While a server runs, a command writes into the same database through a connection of its own, and waits
//! until the server has noticed the change. Invariants: a change is one transaction, so that concurrent
//! changes are not lost; only the process that has locked the directory moves the WAL into the database.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mynah_store::{Durability, Setting};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::unavailable;
use super::open::{self, DataDirectory, OpenError};
use super::{checkpoint, schema, settings};

/// Time that a command waits for a server that is starting or stopping, or that has another transaction open.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time that a command waits until the running server knows a change.
const NOTICED: Duration = Duration::from_secs(2);
/// Interval between checks while a command waits.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Returns the present text of a setting of a data directory, whether a server runs there or not; empty if it
/// was never set. Changes nothing in the directory.
pub fn read_setting(directory: &Path, name: &str) -> anyhow::Result<String> {
    let database = directory.join(open::FILE);
    if !database.exists() {
        return Ok(String::new());
    }
    let read = || {
        let db = Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(PATIENCE)?;
        // As the last connection it would otherwise move the WAL into the database.
        let has_log = directory.join(open::LOG).exists();
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
        settings::all(&db)
    };
    let settings = read().with_context(|| format!("{} cannot be read", database.display()))?;
    let found = settings.into_iter().find(|setting| setting.name == name);
    Ok(found.map(|setting| setting.text).unwrap_or_default())
}

/// A function that gets the present text of a setting, and returns the new one, or `None` to leave it
/// unchanged.
pub type TextChange<'a> = Box<dyn FnOnce(&str) -> anyhow::Result<Option<String>> + 'a>;

/// Changes a setting of a data directory, whether a server runs there or not. The directory is created if it
/// does not exist. If `change` fails, nothing is changed. Returns once a running server knows the change, or
/// false if it does not within two seconds.
pub fn change_setting(directory: &Path, name: &str, change: TextChange<'_>) -> anyhow::Result<bool> {
    let end = Instant::now() + PATIENCE;
    loop {
        match DataDirectory::open(directory, Durability::Power) {
            Ok(place) => return change_alone(&place, name, change).map(|()| true),
            Err(OpenError::Locked { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Ok(Some(db)) = beside_server(directory) {
            let changed = transact(&db, name, change)?;
            return match changed {
                Some(setting) => Ok(is_noticed(&db, directory, &setting)?),
                None => Ok(true),
            };
        }
        if Instant::now() > end {
            bail!(
                "{} is in use by a server of another version, or one that does not finish its start: \
                 restart it with this version, or stop it",
                directory.display()
            );
        }
        sleep(BETWEEN_LOOKS);
    }
}

/// Changes a setting while no server runs. None can start in the meantime, because the directory is locked.
fn change_alone(place: &DataDirectory, name: &str, change: TextChange<'_>) -> anyhow::Result<()> {
    let db = place.writer().map_err(|error| place.explain(error))?;
    transact(&db, name, change)?;
    if checkpoint::finish(&db, place) {
        place.witness().closed()?;
    }
    Ok(())
}

/// Opens a connection to the database of a running server. Returns `None` while the server has not prepared
/// it.
fn beside_server(directory: &Path) -> rusqlite::Result<Option<Connection>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(directory.join(open::FILE), flags)?;
    db.busy_timeout(PATIENCE)?;
    // Only the server moves the WAL into the database, because it records each time.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "synchronous", "full")?;
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let is_ready =
        pragma("application_id")? == schema::APPLICATION_ID && pragma("user_version")? == schema::VERSION;
    Ok(is_ready.then_some(db))
}

fn transact(db: &Connection, name: &str, change: TextChange<'_>) -> anyhow::Result<Option<Setting>> {
    let run = || {
        db.execute_batch("BEGIN IMMEDIATE")?;
        let changed = settings::change(db, name, false, change)?;
        // A change that was refused has written nothing.
        db.execute_batch("COMMIT")?;
        Ok(changed)
    };
    run().map_err(|error: rusqlite::Error| unavailable(&error))?
}

/// Waits until the server has seen a change, or has ended.
fn is_noticed(db: &Connection, directory: &Path, setting: &Setting) -> anyhow::Result<bool> {
    let end = Instant::now() + NOTICED;
    while !settings::is_seen(db, setting)? {
        if open::lock(directory).is_ok() {
            return Ok(true);
        }
        if Instant::now() > end {
            return Ok(false);
        }
        sleep(BETWEEN_LOOKS);
    }
    Ok(true)
}
