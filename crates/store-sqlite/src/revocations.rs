//! Revocations of tokens.
//!
//! Invariants: a repeated revocation can only cover more tokens and be kept longer; a revocation for a
//! displaced device can only replace another one of the same user.

use mynah_store::ids::{DeviceId, Uid};
use mynah_store::{Device, MOST_DISPLACED, Revocation, Revoked, UnixMillis};
use rusqlite::{Connection, Row, params};

use super::columns::number;

/// The maximum number of revocations that are forgotten in one transaction.
const FORGOTTEN: i64 = 1_000;

/// Stores a revocation, and forgets some of those for which no valid token exists at `now`. `now` must be a
/// time that has certainly passed: a clock that is wrong for a moment must not make a revoked token valid.
pub(super) fn revoke(db: &Connection, now: UnixMillis, revocation: &Revocation) -> rusqlite::Result<()> {
    let (uid, device, token) = match &revocation.what {
        Revoked::User(uid) => (uid.as_str(), "", ""),
        Revoked::Device(Device { uid, device }) => (uid.as_str(), device.as_str(), ""),
        Revoked::Token(token) => ("", "", &**token),
    };
    let displaced = revocation.displaced.as_ref().map_or("", Uid::as_str);
    db.prepare_cached(
        "INSERT INTO revocations (uid, device, token, issued, forget, displaced) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET issued = max(issued, excluded.issued), forget = max(forget, excluded.forget),
                 displaced = CASE excluded.displaced WHEN '' THEN '' ELSE displaced END",
    )?
    .execute(params![
        uid,
        device,
        token,
        number(revocation.issued_until),
        number(revocation.forget_at),
        displaced,
    ])?;
    if !displaced.is_empty() {
        db.prepare_cached(
            "DELETE FROM revocations WHERE displaced = ?1 AND (uid, device, token) IN
                 (SELECT uid, device, token FROM revocations WHERE displaced = ?1 ORDER BY forget DESC LIMIT -1 OFFSET ?2)",
        )?
        .execute(params![displaced, MOST_DISPLACED])?;
    }
    db.prepare_cached(
        "DELETE FROM revocations WHERE (uid, device, token) IN
             (SELECT uid, device, token FROM revocations WHERE forget <= ?1 LIMIT ?2)",
    )?
    .execute(params![number(now), FORGOTTEN])?;
    Ok(())
}

/// Returns all revocations that are not forgotten at `now`.
pub(super) fn all(db: &Connection, now: UnixMillis) -> rusqlite::Result<Vec<Revocation>> {
    db.prepare_cached(
        "SELECT uid, device, token, issued, forget, displaced FROM revocations WHERE forget > ?1",
    )?
    .query_map([number(now)], revocation)?
    .collect()
}

fn revocation(row: &Row<'_>) -> rusqlite::Result<Revocation> {
    let (uid, device, token) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?, row.get(2)?);
    let invalid =
        |column| rusqlite::Error::InvalidColumnType(column, "id".into(), rusqlite::types::Type::Text);
    let uid_of = || Uid::new(uid).map_err(|_| invalid(0));
    let what = match (uid, device) {
        ("", _) => Revoked::Token(token),
        (_, "") => Revoked::User(uid_of()?),
        (_, device) => Revoked::Device(Device {
            uid: uid_of()?,
            device: DeviceId::new(device).map_err(|_| invalid(1))?,
        }),
    };
    Ok(Revocation {
        what,
        issued_until: row.get(3)?,
        forget_at: row.get(4)?,
        displaced: Some(row.get_ref(5)?.as_str()?)
            .filter(|uid| !uid.is_empty())
            .map(|uid| Uid::new(uid).map_err(|_| invalid(5)))
            .transpose()?,
    })
}
