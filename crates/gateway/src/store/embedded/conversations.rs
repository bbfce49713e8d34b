//! A user's conversations and what is unread in them. Costs grow with the user's conversations, not with the store.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::failure::Failure;
use super::heads;
use super::history::{MESSAGE_COLUMN_COUNT, MESSAGE_COLUMNS, PAGE_BYTES, message};
use crate::ids::{ConvId, Seq, Uid};
use crate::store::{Conversation, Conversations, StoreError};

/// Unread in conversation `c` for participant `p`: what was counted since `read`, without the user's own and the recalled.
/// Recalled ones that the user sent are in neither count.
const UNREAD: &str = "max(0, c.counted - p.read_counted
    - (CASE WHEN p.member THEN p.sent WHEN c.a = p.uid THEN c.sent_a ELSE c.sent_b END - p.read_sent)
    - CASE WHEN c.recalls = 0 THEN 0 ELSE (SELECT count(*) FROM recalls r
        WHERE r.conv_id = c.id AND r.seq > p.read AND r.sender IS NOT p.uid) END)";

/// A page of `uid`'s conversations, newest first, after the position that `after` names.
pub(super) fn page(
    db: &Connection,
    uid: &Uid,
    after: Option<&str>,
    limit: usize,
) -> Result<Conversations, Failure> {
    let (row, id) = match after {
        None => (i64::MAX, i64::MAX),
        Some(text) => parse_position(text).ok_or(StoreError::NotFound("position in the list"))?,
    };
    // First only which: the sorter should not carry messages.
    let mut ids = db.prepare_cached(
        "SELECT c.last_row, c.id FROM participants p JOIN conversations c ON c.id = p.conv_id
         WHERE p.uid = ?1 AND c.closed = 0 AND (c.last_row, c.id) < (?2, ?3)
         ORDER BY c.last_row DESC, c.id DESC LIMIT ?4",
    )?;
    let ids = ids
        .query_map(params![uid.as_str(), row, id, limit as i64 + 1], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
    let mut select = db.prepare_cached(&format!(
        "SELECT {MESSAGE_COLUMNS}, c.conv, c.kind, c.a, c.b, c.team, c.head, p.read, {UNREAD}
         FROM conversations c JOIN participants p ON p.conv_id = c.id LEFT JOIN messages m ON m.id = c.last_row
         WHERE c.id = ?1 AND p.uid = ?2",
    ))?;
    let mut page = Conversations {
        conversations: Vec::new(),
        next: None,
    };
    let mut bytes = 0;
    for (index, (_, id)) in ids.iter().enumerate() {
        if index == limit || bytes >= PAGE_BYTES {
            page.next = ids[..index].last().map(|(row, id)| format!("{row:x}.{id:x}"));
            break;
        }
        let line = select.query_row(params![id, uid.as_str()], line)?;
        bytes += line
            .iter()
            .flat_map(|line| &line.last)
            .map(|last| last.data.get().len())
            .sum::<usize>();
        page.conversations.extend(line);
    }
    Ok(page)
}

/// One conversation; `None` for a row that no version of this program writes.
fn line(row: &Row<'_>) -> rusqlite::Result<Option<Conversation>> {
    const C: usize = MESSAGE_COLUMN_COUNT;
    let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let is_empty = row.get_ref(0)?.data_type() == Type::Null;
    let last = if is_empty { None } else { Some(message(row)?) };
    let Some(kind) = heads::kind(row, C + 1)? else {
        return Ok(None);
    };
    Ok(Some(Conversation {
        conv: ConvId(row.get(C)?),
        kind,
        head: Seq(number(C + 5)?),
        cursor: Seq(0),
        read: Seq(number(C + 6)?),
        unread: number(C + 7)?,
        last,
    }))
}

/// The sum over the user's conversations.
pub(super) fn unread(db: &Connection, uid: &Uid) -> rusqlite::Result<u64> {
    db.prepare_cached(&format!(
        "SELECT coalesce(sum({UNREAD}), 0) FROM participants p JOIN conversations c ON c.id = p.conv_id
         WHERE p.uid = ?1 AND c.closed = 0",
    ))?
    .query_row([uid.as_str()], |row| row.get::<_, i64>(0))
    .map(i64::unsigned_abs)
}

/// The same, with conversation `conv` as it was when message `seq` was its newest.
pub(super) fn unread_at(db: &Connection, uid: &Uid, conv: ConvId, seq: Seq) -> rusqlite::Result<u64> {
    let total = unread(db, uid)?;
    let seq = i64::try_from(seq.0).unwrap_or(i64::MAX);
    // How much of the total came after `seq`: others' counting messages that are neither read nor recalled.
    let later: Option<i64> = db
        .prepare_cached(&format!(
            "SELECT {UNREAD} - CASE WHEN p.read >= ?3 THEN 0 ELSE
                 max(0, m.counted - p.read_counted - (coalesce({OWN_AT}, 0) - p.read_sent)
                     - CASE WHEN c.recalls = 0 THEN 0 ELSE (SELECT count(*) FROM recalls r
                         WHERE r.conv_id = c.id AND r.seq > p.read AND r.seq <= ?3 AND r.sender IS NOT p.uid) END) END
             FROM conversations c JOIN participants p ON p.conv_id = c.id JOIN messages m ON m.conv_id = c.id
             WHERE c.conv = ?2 AND p.uid = ?1 AND m.seq = ?3 AND c.closed = 0",
        ))?
        .query_row(params![uid.as_str(), conv.0, seq], |row| row.get(0))
        .optional()?;
    Ok(total.saturating_sub(later.map_or(0, |later| later.max(0).unsigned_abs())))
}

/// The running number of counting messages by `p.uid` at message `m` of conversation `c`. In a pair, what the sender of `m` has not
/// sent is the other's; notices keep their owner's number; a member's is at its newest message up to there.
const OWN_AT: &str = "CASE
    WHEN p.member THEN (SELECT s.member_sent FROM messages s
        WHERE s.conv_id = c.id AND s.sender = p.uid AND s.seq <= m.seq AND s.seq > p.floor AND s.member_sent IS NOT NULL
        ORDER BY s.seq DESC LIMIT 1)
    WHEN c.b IS NULL OR m.sender = p.uid THEN m.own
    ELSE m.counted - m.own END";

fn parse_position(text: &str) -> Option<(i64, i64)> {
    let (row, id) = text.split_once('.')?;
    Some((
        i64::from_str_radix(row, 16).ok()?,
        i64::from_str_radix(id, 16).ok()?,
    ))
}
