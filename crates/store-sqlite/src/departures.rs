//! Teams that a user has left, or that were deleted. Devices of the user that were offline have not received
//! everything that was written while the user was a member, nor the kind 17 about the departure. A departure
//! says what they may still receive. In a deleted team it is only the kind 17, because the text of the team
//! is erased.
//!
//! Invariants: a user has no departure from a conversation that it is in; the kind 17 of a departure is in
//! the database. A departure is written only for a user who has a device, because the cursors of devices that
//! are registered later begin after it. It is kept until the user is a member again or retention deletes the
//! kind 17.

use mynah_store::ids::Uid;
use mynah_store::{Position, TeamNotice};
use rusqlite::{Connection, OptionalExtension, params};

use super::conversations::{Cursors, Rank, position};
use super::devices::At;
use super::history::MESSAGE_COLUMNS;

/// SQL for the floor of departure `d` in conversation `c`.
const FLOOR: &str = "CASE WHEN c.closed THEN d.seq - 1 ELSE max(d.floor, c.gone) END";

/// Records that a member leaves; `notice` is the kind 17 about it. `head` was the head before the first
/// message about this change. Must be called while the member still has its row in `participants`.
pub(super) fn note(db: &Connection, notice: &TeamNotice, conv_id: i64, head: u64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO departures (message, uid, conv_id, seq, floor, head)
         SELECT m.id, p.uid, p.conv_id, m.seq, p.floor, ?4 FROM participants p JOIN messages m ON m.conv_id = p.conv_id AND m.seq = ?3
         WHERE p.uid = ?1 AND p.conv_id = ?2 AND EXISTS (SELECT 1 FROM devices WHERE devices.uid = ?1)",
    )?
    .execute(params![notice.uid.as_str(), conv_id, notice.seq.0, head])?;
    Ok(())
}

/// Deletes a departure, because the user is a member again.
pub(super) fn forget(db: &Connection, uid: &Uid, conv_id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM departures WHERE uid = ?1 AND conv_id = ?2")?
        .execute(params![uid.as_str(), conv_id])?;
    Ok(())
}

/// Returns the conversation as it was when the user left it, and the message after which the user sees it.
pub(super) fn find(db: &Connection, uid: &Uid, conv_id: i64) -> rusqlite::Result<Option<(At, u64)>> {
    db.prepare_cached(&format!(
        "SELECT d.seq, d.message, {FLOOR} FROM departures d JOIN conversations c ON c.id = d.conv_id
         WHERE d.uid = ?1 AND d.conv_id = ?2"
    ))?
    .query_row(params![uid.as_str(), conv_id], |row| {
        let at = At {
            conv_id,
            head: row.get(0)?,
            last_row: row.get(1)?,
        };
        Ok((at, row.get(2)?))
    })
    .optional()
}

/// Returns the user's departures after row `since`, newest first, with the device's position in these
/// conversations. Nothing in them is unread.
pub(super) fn after(
    db: &Connection,
    uid: &Uid,
    cursors: &Cursors,
    since: i64,
) -> rusqlite::Result<Vec<(Rank, Position)>> {
    db.prepare_cached(&format!(
        "SELECT d.conv_id, d.message, c.conv, d.seq, d.seq, 0, {FLOOR}, k.seq
         FROM departures d INDEXED BY departures_of_user CROSS JOIN conversations c ON c.id = d.conv_id
         LEFT JOIN cursors k ON k.device_id = ?3 AND k.conv_id = d.conv_id
         WHERE d.uid = ?1 AND d.message > ?2 ORDER BY d.message DESC"
    ))?
    .query_map(params![uid.as_str(), since, cursors.row()], |row| {
        let rank = (row.get(1)?, row.get(0)?);
        Ok((rank, position(db, cursors, row, 0)?))
    })?
    .collect()
}

/// Selects what a user (`?2`) who has left conversation `?1` may see of it after message `?3` and up to
/// message `?4`.
pub(super) fn replay_sql() -> String {
    format!(
        "SELECT {MESSAGE_COLUMNS} FROM conversations c CROSS JOIN departures d CROSS JOIN messages m
         WHERE c.conv = ?1 AND d.uid = ?2 AND d.conv_id = c.id
             AND m.conv_id = c.id AND m.seq > max(?3, {FLOOR}) AND m.seq <= ?4 AND (m.seq <= d.head OR m.seq = d.seq)
         ORDER BY m.seq"
    )
}
