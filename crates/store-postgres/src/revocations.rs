//! Revocations of tokens.
//!
//! Invariants: a repeated revocation can only cover more tokens and be kept longer; one of a displaced device
//! can only take the place of another one of the same user.

use mynah_store::follow::{Point, RecordId};
use mynah_store::ids::{DeviceId, Uid};
use mynah_store::{Device, MOST_DISPLACED, Revocation, Revoked, UnixMillis};

use super::failure::Failure;
use super::follow::{ranges, running};
use super::rows::Moment;
use super::session::{Session, Value};
use super::values::{Columns, stored};

const REVOKE: &str = "INSERT INTO revocations (uid, device, token, issued, forget, displaced, stamp)
     VALUES ($1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (uid, device, token) DO UPDATE SET issued = greatest(revocations.issued, excluded.issued),
         forget = greatest(revocations.forget, excluded.forget), stamp = excluded.stamp,
         displaced = CASE excluded.displaced WHEN '' THEN '' ELSE revocations.displaced END";
const BOUND: &str = "DELETE FROM revocations WHERE displaced = $1 AND (uid, device, token) IN
     (SELECT uid, device, token FROM revocations WHERE displaced = $1 AND displaced <> '' ORDER BY forget DESC OFFSET $2)";
const FORGET: &str = "DELETE FROM revocations WHERE forget <= $1";
/// Those with a stamp after `$1`, or one of `$2`, that are not forgotten at `$3`.
const SINCE: &str = concat!(
    "SELECT s.running, r.stamp, r.uid, r.device, r.token, r.issued, r.forget, r.displaced
     FROM (SELECT ",
    running!(),
    " AS running) s
     LEFT JOIN revocations r ON (r.stamp > $1 OR r.stamp = ANY ($2)) AND r.forget > $3"
);

/// Before all revocations.
pub(super) fn start() -> Point {
    Point::new(RecordId(-1), [])
}

/// Returns those that have changed since `since` and are not forgotten at `now`, and the present moment. A
/// revocation has the first id of the transaction that has changed it (`rows.rs`).
pub(super) async fn since(
    session: &Session,
    base: i64,
    since: &Point,
    now: UnixMillis,
) -> Result<(Vec<Revocation>, Point), Failure> {
    let running: Vec<i64> = since.running().iter().map(|(first, _)| first.0).collect();
    let rows = session
        .query(SINCE, &[&since.last().0, &running, &stored(now)])
        .await?;
    let mut row = Columns::of(rows.first().ok_or(Failure::Defect("no snapshot"))?);
    let running: Vec<i64> = row.take()?;
    let (mut last, mut found) = (since.last().0, Vec::new());
    for row in &rows {
        let mut row = Columns::of(row);
        row.skip(1);
        if let Some(stamp) = row.take::<Option<i64>>()? {
            last = last.max(stamp);
            found.push(revocation(&mut row)?);
        }
    }
    Ok((found, Point::new(RecordId(last), ranges(base, &running))))
}

/// Stores a revocation, and forgets those for which no valid token exists at a time that has certainly
/// passed: a clock that is wrong for a moment must not make a revoked token valid.
pub(super) async fn revoke(
    session: &Session,
    moment: &Moment,
    revocation: &Revocation,
) -> Result<(), Failure> {
    let (uid, device, token) = match &revocation.what {
        Revoked::User(uid) => (uid.as_str(), "", ""),
        Revoked::Device(Device { uid, device }) => (uid.as_str(), device.as_str(), ""),
        Revoked::Token(token) => ("", "", &**token),
    };
    let displaced = revocation.displaced.as_ref().map_or("", Uid::as_str);
    let (issued, forget) = (stored(revocation.issued_until), stored(revocation.forget_at));
    let stamp = moment.first_row();
    let values: [Value<'_>; 7] = [&uid, &device, &token, &issued, &forget, &displaced, &stamp];
    session.execute(REVOKE, &values).await?;
    if !displaced.is_empty() {
        session
            .execute(BOUND, &[&displaced, &(MOST_DISPLACED as i64)])
            .await?;
    }
    session.execute(FORGET, &[&stored(moment.certain())]).await?;
    Ok(())
}

fn revocation(row: &mut Columns<'_>) -> Result<Revocation, Failure> {
    const INVALID: Failure = Failure::Defect("an id of a revocation is not valid");
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
