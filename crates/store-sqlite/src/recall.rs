//! Recalls a message.

use mynah_store::ids::{ConvId, Uid};
use mynah_store::{ConvKind, Recall, Recalled, StoreError, UnixMillis};
use rusqlite::{Connection, OptionalExtension, params};

use super::append::is_in;
use super::columns::Columns;
use super::failure::Failure;
use super::heads;
use super::log::{self, Draft};
use super::tx::Tx;
use super::unread;

/// The message to recall.
struct RecallTarget {
    row: i64,
    conv_id: i64,
    seq: i64,
    kind: u16,
    ts: UnixMillis,
    counts: bool,
    recalled: bool,
    is_own: bool,
}

/// Executes `order`.
pub(super) fn recall(tx: &mut Tx<'_>, order: &Recall) -> Result<Recalled, Failure> {
    let (found, conv, kind) = find(tx.db, order)?.ok_or(StoreError::NotFound("message"))?;
    let head = tx.state.heads.known(tx.db, conv)?.filter(|head| !head.closed);
    let sent = head.ok_or(StoreError::NotFound("message"))?.sent;
    let members = match &kind {
        ConvKind::Team(team) => tx.state.teams.find(tx.db, team)?.map(|team| team.members),
        ConvKind::Pair(..) | ConvKind::Notices(_) => None,
    };
    if !found.is_own {
        return Err(StoreError::Forbidden("only its sender may recall a message").into());
    }
    if found.kind == order.kind {
        return Err(StoreError::Forbidden("the announcement of a recall cannot be recalled").into());
    }
    if matches!(kind, ConvKind::Team(_)) && !is_in(members.as_ref(), &order.by) {
        return Err(StoreError::Forbidden("a user who has left a team may not recall its messages").into());
    }
    if found.recalled {
        return Err(StoreError::Conflict("this message was recalled before").into());
    }
    if tx.state.age.of(found.row, found.ts) > order.window_ms {
        return Err(StoreError::Forbidden("this message is too old to be recalled").into());
    }
    // The text is deleted now, and from the WAL soon (`Checkpoints::erase`).
    tx.db
        .prepare_cached("UPDATE messages SET recalled = 1, data = 'null' WHERE id = ?1")?
        .execute([found.row])?;
    tx.state.erased = true;
    if found.counts {
        tx.db
            .prepare_cached("INSERT INTO recalls (conv_id, seq, sender) VALUES (?1, ?2, ?3)")?
            .execute(params![found.conv_id, found.seq, order.by.as_str()])?;
        tx.db
            .prepare_cached("UPDATE conversations SET recalls = recalls + 1 WHERE id = ?1")?
            .execute([found.conv_id])?;
        if let Some(reader) = reader(&kind, &order.by)
            && has_not_read(tx.db, reader, &found)?
            && let Some(side) = unread::side(&kind, reader)
        {
            unread::change(tx.state, conv, side, reader, -1);
        }
    }
    let draft = Draft {
        kind: order.kind,
        from: Some(&order.by),
        own: match &kind {
            ConvKind::Pair(_, a, b) => Some(sent[usize::from(a != b && order.by == *b)]),
            ConvKind::Notices(_) => Some(sent[0]),
            ConvKind::Team(_) => None,
        },
        data: order.data.get(),
        ..Draft::default()
    };
    let written = log::write(tx, conv, &draft)?;
    Ok(Recalled {
        appended: written.appended(members, None),
        kind,
    })
}

/// Returns the user for whom a message by `sender` may be unread; `None` in a team.
fn reader<'a>(kind: &'a ConvKind, sender: &Uid) -> Option<&'a Uid> {
    match kind {
        ConvKind::Pair(_, a, b) if sender == a => Some(b),
        ConvKind::Pair(_, a, _) => Some(a),
        ConvKind::Notices(owner) => Some(owner),
        ConvKind::Team(_) => None,
    }
    .filter(|reader| *reader != sender)
}

fn has_not_read(db: &Connection, reader: &Uid, message: &RecallTarget) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT read < ?3 FROM participants WHERE uid = ?1 AND conv_id = ?2")?
        .query_row(params![reader.as_str(), message.conv_id, message.seq], |row| {
            row.get(0)
        })
}

/// Returns the message, and its conversation.
fn find(db: &Connection, order: &Recall) -> rusqlite::Result<Option<(RecallTarget, ConvId, ConvKind)>> {
    db.prepare_cached(
        "SELECT m.id, m.conv_id, m.seq, m.kind, m.ts, m.counts, m.recalled, m.sender, c.conv, c.kind, c.a, c.b, c.team
         FROM messages m JOIN conversations c ON c.id = m.conv_id WHERE m.mid = ?1",
    )?
    .query_row([order.mid.0.as_bytes()], |row| {
        let found = RecallTarget {
            row: row.get(0)?,
            conv_id: row.get(1)?,
            seq: row.get(2)?,
            kind: row.get(3)?,
            ts: row.get(4)?,
            counts: row.get(5)?,
            recalled: row.get(6)?,
            is_own: row.get_ref(7)?.as_str_or_null()? == Some(Uid::as_str(&order.by)),
        };
        Ok((found, row.conv(8)?, heads::kind(row, 9)?))
    })
    .optional()
    .map(|found| found.and_then(|(found, conv, kind)| Some((found, conv, kind?))))
}
