//! Moves the cursors of devices and the read positions of users.

use mynah_store::ids::{ConvId, Seq, Uid};
use mynah_store::{ConvKind, Device, Read, ReadMark, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use super::conversations::OWN_AT;
use super::departures;
use super::devices::At;
use super::failure::Failure;
use super::heads;
use super::state::State;
use super::unread;

/// A user's position in a conversation. What retention has deleted counts as delivered and read.
struct Seat {
    at: At,
    floor: u64,
    read: u64,
}

/// A device acknowledges `conv` up to `seq`.
pub(super) fn ack(
    db: &Connection,
    state: &mut State,
    (device, conv, seq): (&Device, ConvId, Seq),
) -> Result<Seq, Failure> {
    let Some(seat) = seat(db, state, &device.uid, conv)? else {
        return ack_of_departed(db, state, (device, conv, seq));
    };
    let seq = seq.0.min(seat.at.head);
    has(db, state, device, (seat.at, seat.floor), seq)?;
    Ok(Seq(seq))
}

/// A user has read up to a message, and the device has everything up to there.
pub(super) fn read(db: &Connection, state: &mut State, read: &Read) -> Result<ReadMark, Failure> {
    let uid = &read.by.uid;
    let Some(seat) = seat(db, state, uid, read.conv)? else {
        return Ok(ReadMark {
            seq: ack_of_departed(db, state, (&read.by, read.conv, read.seq))?,
            moved: false,
            kind: kind(db, read.conv)?,
            members: None,
        });
    };
    let to = read.seq.0.min(seat.at.head);
    has(db, state, &read.by, (seat.at, seat.floor), to)?;
    let moved = to > seat.read;
    let kind = kind(db, read.conv)?;
    if moved {
        let before = move_read(db, uid, seat.at.conv_id, to)?;
        if let Some(side) = unread::side(&kind, uid) {
            let head = state.heads.edit(read.conv);
            let others = (head.counted - before.counted).saturating_sub(head.sent[side] - before.own);
            unread::set(
                state,
                read.conv,
                (side, uid),
                others.saturating_sub(before.recalled_after),
            );
        }
    }
    let members = match &kind {
        ConvKind::Team(team) => state.teams.find(db, team)?.map(|team| team.members),
        ConvKind::Pair(..) | ConvKind::Notices(_) => None,
    };
    Ok(ReadMark {
        seq: Seq(seat.read.max(to)),
        moved,
        kind,
        members,
    })
}

/// The running numbers of a conversation at a message, and the number of recalled messages after it.
struct Before {
    counted: u64,
    /// The part of these that the reader has sent.
    own: u64,
    /// Recalled counting messages of others after it.
    recalled_after: u64,
}

/// Moves the read position to a message, which must exist: retention deletes the oldest messages first.
fn move_read(db: &Connection, uid: &Uid, conv_id: i64, to: u64) -> rusqlite::Result<Before> {
    let (counted, own, recalled_after) = db
        .prepare_cached(&format!(
            "SELECT m.counted, {OWN_AT}, CASE WHEN c.recalls = 0 THEN 0 ELSE (SELECT count(*) FROM recalls r
                 WHERE r.conv_id = c.id AND r.seq > ?3 AND r.sender IS NOT p.uid) END
             FROM conversations c JOIN participants p ON p.conv_id = c.id JOIN messages m ON m.conv_id = c.id
             WHERE c.id = ?1 AND p.uid = ?2 AND m.seq = ?3",
        ))?
        .query_row(params![conv_id, uid.as_str(), to as i64], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })?;
    db.prepare_cached(
        "UPDATE participants SET read = ?3, read_counted = ?4, read_sent = ?5 WHERE uid = ?1 AND conv_id = ?2",
    )?
    .execute(params![uid.as_str(), conv_id, to as i64, counted, own])?;
    Ok(Before {
        counted: counted.unsigned_abs(),
        own: own.unsigned_abs(),
        recalled_after: recalled_after.unsigned_abs(),
    })
}

fn kind(db: &Connection, conv: ConvId) -> Result<ConvKind, Failure> {
    let kind = db
        .prepare_cached("SELECT kind, a, b, team FROM conversations WHERE conv = ?1")?
        .query_row([conv.0], |row| heads::kind(row, 0))?;
    Ok(kind.ok_or(StoreError::NotFound("conversation"))?)
}

/// A device acknowledges messages of a team that its user has left. Fails if this is not news, with the same
/// error as for a user who was never in the conversation.
fn ack_of_departed(
    db: &Connection,
    state: &mut State,
    (device, conv, Seq(seq)): (&Device, ConvId, Seq),
) -> Result<Seq, Failure> {
    let Some(head) = state.heads.known(db, conv)?.map(|head| head.at()) else {
        return Err(StoreError::NOT_IN_IT.into());
    };
    let known = state.devices.find(db, device)?;
    let left = departures::find(db, &device.uid, head.conv_id)?;
    let Some((known, (at, floor))) = known.zip(left) else {
        return Err(StoreError::NOT_IN_IT.into());
    };
    let to = seq.min(at.head);
    if state.devices.cursor(db, known, at, || Ok(floor))? >= to {
        return Err(StoreError::NOT_IN_IT.into());
    }
    has(db, state, device, (at, floor), to)?;
    Ok(Seq(to))
}

fn has(
    db: &Connection,
    state: &mut State,
    device: &Device,
    (at, floor): (At, u64),
    seq: u64,
) -> rusqlite::Result<()> {
    let now = state.age.measured();
    let Some(known) = state.devices.use_of(db, now, device)? else {
        return Ok(());
    };
    if state.devices.cursor(db, known, at, || Ok(floor))? < seq {
        state.devices.advance(now, known, at.conv_id, seq);
    }
    Ok(())
}

/// Returns `None` if the user is not in the conversation.
fn seat(db: &Connection, state: &mut State, uid: &Uid, conv: ConvId) -> rusqlite::Result<Option<Seat>> {
    let Some(at) = state
        .heads
        .known(db, conv)?
        .filter(|head| !head.closed)
        .map(|head| head.at())
    else {
        return Ok(None);
    };
    db.prepare_cached(
        "SELECT max(p.floor, c.gone), max(p.read, c.gone)
         FROM participants p JOIN conversations c ON c.id = p.conv_id WHERE p.uid = ?1 AND p.conv_id = ?2",
    )?
    .query_row(params![uid.as_str(), at.conv_id], |row| {
        Ok(Seat {
            at,
            floor: row.get::<_, i64>(0)?.unsigned_abs(),
            read: row.get::<_, i64>(1)?.unsigned_abs(),
        })
    })
    .optional()
}
