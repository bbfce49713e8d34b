//! Settings: small texts that all nodes share.

use mynah_store::Setting;

use super::failure::Failure;
use super::session::Session;
use super::values::Columns;

const ALL: &str = "SELECT name, version, text FROM settings WHERE version > 0";
const MAKE: &str = "INSERT INTO settings (name, version, text) VALUES ($1, 0, '') ON CONFLICT DO NOTHING";
const LOCK: &str = "SELECT version, text FROM settings WHERE name = $1 FOR UPDATE";
const CHANGE: &str = "UPDATE settings SET version = version + 1, text = $2 WHERE name = $1";

/// All settings that were ever set.
pub(super) async fn all(session: &Session) -> Result<Vec<Setting>, Failure> {
    let rows = session.query(ALL, &[]).await?;
    let settings = rows.iter().map(|row| {
        let mut row = Columns::of(row);
        Ok(Setting {
            name: row.take()?,
            version: row.number()?,
            text: row.take()?,
        })
    });
    settings.collect()
}

/// Changes a setting in the transaction that has begun. Returns the new value, if it has changed.
pub(super) async fn change(
    session: &Session,
    name: &str,
    change: impl FnOnce(&str) -> Option<String>,
) -> Result<Option<Setting>, Failure> {
    session.execute(MAKE, &[&name]).await?;
    let rows = session.query(LOCK, &[&name]).await?;
    let mut row = Columns::of(rows.first().ok_or(Failure::Defect("a setting is missing"))?);
    let (version, text): (_, &str) = (row.number()?, row.take()?);
    let Some(text) = change(text) else {
        return Ok(None);
    };
    session.execute(CHANGE, &[&name, &text]).await?;
    Ok(Some(Setting {
        name: name.to_owned(),
        version: version + 1,
        text,
    }))
}
