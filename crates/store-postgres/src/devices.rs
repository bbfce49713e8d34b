//! Makes devices known, and forgets others because of the limit.
//!
//! A device's cursor in a conversation is the highest of: what it has acknowledged (`cursors`), the head of
//! the moment when it became known if it has acknowledged nothing, the floor of its user, and what retention
//! has deleted. Invariant: conversations that may have had messages in flight when the device became known
//! have a cursor from then on; for all others `devices.since` says what the head was (`rows.rs`).

use std::collections::BTreeMap;

use mynah_store::{Device, DeviceRegister};

use super::failure::Failure;
use super::rows::Moment;
use super::session::Session;
use super::values::stored;

/// The row is returned if it was inserted or changed; `xmax` shows which of the two.
const ENTER: &str = "INSERT INTO devices (uid, device, since, had, seen, named)
     SELECT q.uid, q.device, $4, $4, $5, q.named FROM unnest($1::text[], $2::text[], $3::bool[]) AS q(uid, device, named)
     ON CONFLICT (uid, device) DO UPDATE SET named = devices.named OR excluded.named,
         seen = CASE WHEN abs(excluded.seen - devices.seen) > 3600000 THEN excluded.seen ELSE devices.seen END
         WHERE devices.named < excluded.named OR abs(excluded.seen - devices.seen) > 3600000
     RETURNING id, xmax::text = '0'";
const NEW_CURSORS: &str = "INSERT INTO cursors (device_id, conv, seq, acked)
     SELECT v.id, c.conv, c.head, false FROM unnest($1::bigint[]) AS q(id) JOIN devices v ON v.id = q.id
         JOIN conversations c ON c.a = v.uid AND (c.unread_a > 0)::int IN (0, 1) AND c.last_row > $2
     UNION SELECT v.id, c.conv, c.head, false FROM unnest($1::bigint[]) AS q(id) JOIN devices v ON v.id = q.id
         JOIN conversations c ON c.b = v.uid AND c.b <> c.a AND (c.unread_b > 0)::int IN (0, 1) AND c.last_row > $2
     UNION SELECT v.id, c.conv, c.head, false FROM unnest($1::bigint[]) AS q(id) JOIN devices v ON v.id = q.id
         JOIN participants p ON p.uid = v.uid AND p.member
         JOIN conversations c ON c.conv = p.conv AND c.last_row > $2
     UNION SELECT v.id, x.conv, x.seq, false FROM unnest($1::bigint[]) AS q(id) JOIN devices v ON v.id = q.id
         JOIN departures x ON x.uid = v.uid AND x.message > $2
     ON CONFLICT DO NOTHING";
/// The devices that were inactive for the longest time, but first those whose `deviceid` was not chosen by
/// the client.
const FORGET: &str = "WITH ranked AS (
         SELECT o.id, row_number() OVER (PARTITION BY o.uid
             ORDER BY o.id = ANY ($1::bigint[]) DESC, o.named DESC, o.seen DESC, o.id DESC) AS place
         FROM devices o WHERE o.uid IN (SELECT v.uid FROM devices v WHERE v.id = ANY ($1::bigint[]))),
     gone AS (DELETE FROM devices WHERE id IN (SELECT id FROM ranked WHERE place > $2) RETURNING id)
     DELETE FROM cursors USING gone WHERE cursors.device_id = gone.id";
const HAD: &str = "UPDATE devices v SET had = q.had
     FROM unnest($1::text[], $2::text[], $3::bigint[]) AS q(uid, device, had)
     WHERE v.uid = q.uid AND v.device = q.device AND v.had < q.had";

/// Makes devices known, at most `most` of a user.
pub(super) async fn register(
    session: &Session,
    moment: &Moment,
    registers: &[&DeviceRegister],
    most: usize,
) -> Result<(), Failure> {
    let mut devices = BTreeMap::<_, bool>::new();
    for register in registers {
        let key = (register.device.uid.as_str(), register.device.device.as_str());
        *devices.entry(key).or_default() |= register.named;
    }
    let (uids, names): (Vec<_>, Vec<_>) = devices.keys().copied().unzip();
    let named: Vec<_> = devices.values().copied().collect();
    let values: [super::session::Value<'_>; 5] =
        [&uids, &names, &named, &moment.floor, &stored(moment.measured)];
    let mut new = Vec::new();
    for row in session.query(ENTER, &values).await? {
        if row.try_get(1)? {
            new.push(row.try_get::<_, i64>(0)?);
        }
    }
    if !new.is_empty() {
        let most = i64::try_from(most.max(1)).unwrap_or(i64::MAX);
        session.execute(NEW_CURSORS, &[&new, &moment.floor]).await?;
        session.execute(FORGET, &[&new, &most]).await?;
    }
    Ok(())
}

/// Devices have everything in pairs and notices up to these rows.
pub(super) async fn had(session: &Session, devices: &[(&Device, i64)]) -> Result<(), Failure> {
    let uids: Vec<_> = devices.iter().map(|(device, _)| device.uid.as_str()).collect();
    let names: Vec<_> = devices.iter().map(|(device, _)| device.device.as_str()).collect();
    let rows: Vec<_> = devices.iter().map(|(_, row)| *row).collect();
    session.execute(HAD, &[&uids, &names, &rows]).await?;
    Ok(())
}
