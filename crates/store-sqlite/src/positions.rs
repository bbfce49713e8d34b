//! Moves the cursors of devices and the read positions of users.

use mynah_store::ids::{ConvId, Seq, Uid};
use mynah_store::{ConvKind, Device, DeviceRegister, Read, ReadMark, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use super::conversations::OWN_AT;
use super::departures;
use super::devices::At;
use super::failure::Failure;
use super::heads;
use super::tx::Tx;
use super::unread;

/// A user's position in a conversation. What retention has deleted counts as delivered and read.
struct Seat {
    at: At,
    floor: u64,
    read: u64,
}

/// A device acknowledges `conv` up to `seq`.
pub(super) fn ack(tx: &mut Tx<'_>, device: &Device, conv: ConvId, seq: Seq) -> Result<Seq, Failure> {
    let Some(seat) = seat(tx, &device.uid, conv)? else {
        return ack_of_departed(tx, device, conv, seq);
    };
    let seq = seq.0.min(seat.at.head);
    has(tx, device, seat.at, seat.floor, seq)?;
    Ok(Seq(seq))
}

/// A user has read up to a message, and the device has everything up to there.
pub(super) fn read(tx: &mut Tx<'_>, read: &Read) -> Result<ReadMark, Failure> {
    let uid = &read.by.uid;
    let Some(seat) = seat(tx, uid, read.conv)? else {
        return Ok(ReadMark {
            seq: ack_of_departed(tx, &read.by, read.conv, read.seq)?,
            moved: false,
            kind: kind(tx.db, read.conv)?,
            members: None,
        });
    };
    let to = read.seq.0.min(seat.at.head);
    has(tx, &read.by, seat.at, seat.floor, to)?;
    let moved = to > seat.read;
    let kind = kind(tx.db, read.conv)?;
    if moved {
        let before = move_read(tx.db, uid, seat.at.conv_id, to)?;
        if let Some(side) = unread::side(&kind, uid) {
            let head = tx.state.heads.edit(read.conv);
            let others = (head.counted - before.counted).saturating_sub(head.sent[side] - before.own);
            let unread = others.saturating_sub(before.recalled_after);
            unread::set(tx.state, read.conv, side, uid, unread);
        }
    }
    let members = match &kind {
        ConvKind::Team(team) => tx.state.teams.find(tx.db, team)?.map(|team| team.members),
        ConvKind::Pair(..) | ConvKind::Notices(_) => None,
    };
    Ok(ReadMark {
        seq: Seq(seat.read.max(to)),
        moved,
        kind,
        members,
    })
}

/// The running values of a conversation at a message, and the number of recalled messages after it.
struct Before {
    counted: u64,
    /// The part of these that the reader has sent.
    own: u64,
    /// Recalled messages of others after it that counted as unread.
    recalled_after: u64,
}

/// Moves the read position to a message, which must exist: retention deletes the oldest messages first.
fn move_read(db: &Connection, uid: &Uid, conv_id: i64, to: u64) -> rusqlite::Result<Before> {
    let before = db
        .prepare_cached(&format!(
            "SELECT m.counted, {OWN_AT}, CASE WHEN c.recalls = 0 THEN 0 ELSE (SELECT count(*) FROM recalls r
                 WHERE r.conv_id = c.id AND r.seq > ?3 AND r.sender IS NOT p.uid) END
             FROM conversations c JOIN participants p ON p.conv_id = c.id JOIN messages m ON m.conv_id = c.id
             WHERE c.id = ?1 AND p.uid = ?2 AND m.seq = ?3",
        ))?
        .query_row(params![conv_id, uid.as_str(), to], |row| {
            Ok(Before {
                counted: row.get(0)?,
                own: row.get(1)?,
                recalled_after: row.get(2)?,
            })
        })?;
    db.prepare_cached(
        "UPDATE participants SET read = ?3, read_counted = ?4, read_sent = ?5 WHERE uid = ?1 AND conv_id = ?2",
    )?
    .execute(params![uid.as_str(), conv_id, to, before.counted, before.own])?;
    Ok(before)
}

fn kind(db: &Connection, conv: ConvId) -> Result<ConvKind, Failure> {
    let kind = db
        .prepare_cached("SELECT kind, a, b, team FROM conversations WHERE conv = ?1")?
        .query_row([conv.0], |row| heads::kind(row, 0))?;
    Ok(kind.ok_or(StoreError::NotFound("conversation"))?)
}

/// A device acknowledges messages of a team that its user has left. Fails if this is not news, with the same
/// error as for a user who was never in the conversation.
fn ack_of_departed(tx: &mut Tx<'_>, device: &Device, conv: ConvId, Seq(seq): Seq) -> Result<Seq, Failure> {
    let Some(head) = tx.state.heads.known(tx.db, conv)?.map(|head| head.at()) else {
        return Err(StoreError::NOT_IN_IT.into());
    };
    let known = tx.state.devices.find(tx.db, device)?;
    let left = departures::find(tx.db, &device.uid, head.conv_id)?;
    let Some((known, (at, floor))) = known.zip(left) else {
        return Err(StoreError::NOT_IN_IT.into());
    };
    let to = seq.min(at.head);
    if tx.state.devices.cursor(tx.db, known, at, || Ok(floor))? >= to {
        return Err(StoreError::NOT_IN_IT.into());
    }
    has(tx, device, at, floor, to)?;
    Ok(Seq(to))
}

/// Makes a device known from the present heads on, or writes what it has acknowledged.
pub(super) fn register_device(tx: &mut Tx<'_>, register: &DeviceRegister) -> rusqlite::Result<()> {
    let (now, newest_row) = (tx.state.age.measured(), tx.state.next_row - 1);
    tx.state.devices.register_device(tx.db, register, now, newest_row)
}

/// Writes what a device has acknowledged.
pub(super) fn settle(tx: &mut Tx<'_>, device: &Device) -> rusqlite::Result<()> {
    match tx.state.devices.find(tx.db, device)? {
        Some(known) => tx.state.devices.settle(tx.db, known.id),
        None => Ok(()),
    }
}

fn has(tx: &mut Tx<'_>, device: &Device, at: At, floor: u64, seq: u64) -> rusqlite::Result<()> {
    let now = tx.state.age.measured();
    let Some(known) = tx.state.devices.use_of(tx.db, now, device)? else {
        return Ok(());
    };
    if tx.state.devices.cursor(tx.db, known, at, || Ok(floor))? < seq {
        tx.state.devices.advance(now, known, at.conv_id, seq);
    }
    Ok(())
}

/// Returns `None` if the user is not in the conversation.
fn seat(tx: &mut Tx<'_>, uid: &Uid, conv: ConvId) -> rusqlite::Result<Option<Seat>> {
    let Some(at) = tx
        .state
        .heads
        .known(tx.db, conv)?
        .filter(|head| !head.closed)
        .map(|head| head.at())
    else {
        return Ok(None);
    };
    tx.db
        .prepare_cached(
            "SELECT max(p.floor, c.gone), max(p.read, c.gone)
         FROM participants p JOIN conversations c ON c.id = p.conv_id WHERE p.uid = ?1 AND p.conv_id = ?2",
        )?
        .query_row(params![uid.as_str(), at.conv_id], |row| {
            Ok(Seat {
                at,
                floor: row.get(0)?,
                read: row.get(1)?,
            })
        })
        .optional()
}
