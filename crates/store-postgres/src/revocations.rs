//! Revocations of tokens.
//!
//! Invariants: a repeated revocation can only cover more tokens and be kept longer; one of a displaced device
//! can only take the place of another one of the same user.

use mynah_store::ids::{DeviceId, Uid};
use mynah_store::{Device, MOST_DISPLACED, Revocation, Revoked, UnixMillis};
use tokio_postgres::Row;

use super::failure::Failure;
use super::session::Session;
use super::values::{Columns, stored};

const REVOKE: &str = "INSERT INTO revocations (uid, device, token, issued, forget, displaced, stamp)
     VALUES ($1, $2, $3, $4, $5, $6, pg_current_xact_id()::text::bigint)
     ON CONFLICT (uid, device, token) DO UPDATE SET issued = greatest(revocations.issued, excluded.issued),
         forget = greatest(revocations.forget, excluded.forget), stamp = excluded.stamp,
         displaced = CASE excluded.displaced WHEN '' THEN '' ELSE revocations.displaced END";
const BOUND: &str = "DELETE FROM revocations WHERE displaced = $1 AND (uid, device, token) IN
     (SELECT uid, device, token FROM revocations WHERE displaced = $1 AND displaced <> '' ORDER BY forget DESC OFFSET $2)";
const FORGET: &str = "DELETE FROM revocations WHERE forget <= $1";
const ALL: &str = "SELECT uid, device, token, issued, forget, displaced FROM revocations WHERE forget > $1";

const SINCE: &str = "SELECT uid, device, token, issued, forget, displaced FROM revocations WHERE stamp >= $1";

/// Those that were changed by transaction `told` or a later one.
pub(super) async fn since(session: &Session, told: i64) -> Result<Vec<Revocation>, Failure> {
    session
        .query(SINCE, &[&told])
        .await?
        .iter()
        .map(revocation)
        .collect()
}

/// Stores a revocation, and forgets those for which no valid token exists at `now`. `now` must be a time that
/// has certainly passed: a clock that is wrong for a moment must not make a revoked token valid.
pub(super) async fn revoke(
    session: &Session,
    now: UnixMillis,
    revocation: &Revocation,
) -> Result<(), Failure> {
    let (uid, device, token) = match &revocation.what {
        Revoked::User(uid) => (uid.as_str(), "", ""),
        Revoked::Device(Device { uid, device }) => (uid.as_str(), device.as_str(), ""),
        Revoked::Token(token) => ("", "", &**token),
    };
    let displaced = revocation.displaced.as_ref().map_or("", Uid::as_str);
    let (issued, forget) = (stored(revocation.issued_until), stored(revocation.forget_at));
    session
        .execute(REVOKE, &[&uid, &device, &token, &issued, &forget, &displaced])
        .await?;
    if !displaced.is_empty() {
        session
            .execute(BOUND, &[&displaced, &(MOST_DISPLACED as i64)])
            .await?;
    }
    session.execute(FORGET, &[&stored(now)]).await?;
    Ok(())
}

/// All that are not forgotten at `now`.
pub(super) async fn all(session: &Session, now: UnixMillis) -> Result<Vec<Revocation>, Failure> {
    session
        .query(ALL, &[&stored(now)])
        .await?
        .iter()
        .map(revocation)
        .collect()
}

fn revocation(row: &Row) -> Result<Revocation, Failure> {
    const INVALID: Failure = Failure::Defect("an id of a revocation is not valid");
    let mut row = Columns::of(row);
    let (uid, device, token): (&str, &str, &str) = (row.take()?, row.take()?, row.take()?);
    let uid_of = |text: &str| Uid::new(text).map_err(|_| INVALID);
    let what = match (uid, device) {
        ("", _) => Revoked::Token(token.into()),
        (uid, "") => Revoked::User(uid_of(uid)?),
        (uid, device) => Revoked::Device(Device {
            uid: uid_of(uid)?,
            device: DeviceId::new(device).map_err(|_| INVALID)?,
        }),
    };
    let (issued_until, forget_at, displaced) = (row.number()?, row.number()?, row.take()?);
    Ok(Revocation {
        what,
        issued_until,
        forget_at,
        displaced: Some(displaced)
            .filter(|uid: &&str| !uid.is_empty())
            .map(uid_of)
            .transpose()?,
    })
}
