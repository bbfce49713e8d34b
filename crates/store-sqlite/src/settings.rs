//! The table of settings: small texts that belong to a data directory, such as the API keys.
//!
//! Invariants: the version of a setting only grows; `seen` is the version that the running server knows.

use mynah_store::Setting;
use rusqlite::{Connection, OptionalExtension, Row, params};

fn setting(row: &Row<'_>) -> rusqlite::Result<Setting> {
    Ok(Setting {
        name: row.get(0)?,
        version: row.get(1)?,
        text: row.get(2)?,
    })
}

/// Settings that a command has changed and that the running server does not know yet.
pub(super) fn unseen(db: &Connection) -> rusqlite::Result<Vec<Setting>> {
    db.prepare_cached("SELECT name, version, value FROM settings WHERE version > seen")?
        .query_map([], setting)?
        .collect()
}

/// Records that the running server knows this version.
pub(super) fn saw(db: &Connection, setting: &Setting) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE settings SET seen = ?2 WHERE name = ?1 AND version = ?2")?
        .execute(params![setting.name, setting.version])?;
    Ok(())
}

/// Returns whether the running server knows this version.
pub(super) fn is_seen(db: &Connection, setting: &Setting) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM settings WHERE name = ?1 AND seen >= ?2")?
        .exists(params![setting.name, setting.version])
}

/// Returns all settings. A database of an earlier version has none.
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Setting>> {
    let exists = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'settings'";
    if !db.prepare(exists)?.exists([])? {
        return Ok(Vec::new());
    }
    db.prepare("SELECT name, version, value FROM settings")?
        .query_map([], setting)?
        .collect()
}

/// Replaces all settings.
pub(super) fn replace(db: &Connection, settings: &[Setting]) -> rusqlite::Result<()> {
    db.execute("DELETE FROM settings", [])?;
    for setting in settings {
        put(db, setting, false)?;
    }
    Ok(())
}

/// Changes a setting in a transaction. `change` gets the present text, which is empty if the setting was
/// never set, and returns the new one, if it changes. `seen` means that the running server makes this change
/// itself.
pub(super) fn change<E>(
    db: &Connection,
    name: &str,
    seen: bool,
    change: impl FnOnce(&str) -> Result<Option<String>, E>,
) -> rusqlite::Result<Result<Option<Setting>, E>> {
    let present = db
        .prepare_cached("SELECT name, version, value FROM settings WHERE name = ?1")?
        .query_row([name], setting)
        .optional()?;
    let text = present.as_ref().map_or("", |present| present.text.as_str());
    let text = match change(text) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(Ok(None)),
        Err(error) => return Ok(Err(error)),
    };
    let setting = Setting {
        name: name.to_owned(),
        version: present.map_or(0, |present| present.version) + 1,
        text,
    };
    put(db, &setting, seen)?;
    Ok(Ok(Some(setting)))
}

fn put(db: &Connection, setting: &Setting, seen: bool) -> rusqlite::Result<()> {
    let version = setting.version;
    db.prepare_cached(
        "INSERT OR REPLACE INTO settings (name, value, version, seen) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        setting.name,
        setting.text,
        version,
        if seen { version } else { 0 }
    ])?;
    Ok(())
}
