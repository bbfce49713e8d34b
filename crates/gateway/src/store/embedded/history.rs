//! Reading messages back.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::value::RawValue;

use super::failure::Failure;
use crate::ids::{Cid, ConvId, Mid, Seq, Uid};
use crate::store::{History, Message, Span, StoreError};

/// What [`message`] reads; `m` is the message, `c` its conversation.
pub(super) const MESSAGE_COLUMNS: &str =
    "m.kind, m.data, m.mid, c.conv, m.seq, m.sender, m.cid, m.ts, m.recalled";
/// How many they are.
pub(super) const MESSAGE_COLUMN_COUNT: usize = 9;
/// A page ends early when it holds this much payload; the reader asks for more.
pub(super) const PAGE_BYTES: usize = 8 << 20;

/// A message from a row that begins with [`MESSAGE_COLUMNS`].
pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let recalled = row.get(8)?;
    let data = if recalled { "null".to_owned() } else { row.get(1)? };
    let data = RawValue::from_string(data)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error)))?;
    Ok(Message {
        kind: row.get(0)?,
        data: Arc::from(data),
        mid: Mid(uuid::Uuid::from_bytes(row.get(2)?)),
        conv: ConvId(row.get(3)?),
        seq: Seq(row.get::<_, i64>(4)?.unsigned_abs()),
        from: row
            .get_ref(5)?
            .as_str_or_null()?
            .and_then(|text| Uid::new(text).ok()),
        cid: row
            .get_ref(6)?
            .as_str_or_null()?
            .and_then(|text| Cid::new(text).ok()),
        ts: row.get::<_, i64>(7)?.unsigned_abs(),
        recalled,
    })
}

/// A part of a conversation that is not closed.
pub(super) fn read(db: &Connection, conv: ConvId, span: Span, limit: usize) -> Result<History, Failure> {
    let found = db
        .prepare_cached("SELECT id, head FROM conversations WHERE conv = ?1 AND closed = 0")?
        .query_row([conv.0], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    let (id, head) = found.ok_or(StoreError::NotFound("conversation"))?;
    let (bound, order, from) = match span {
        Span::After(seq) => (">", "ASC", seq),
        Span::Before(seq) => ("<", "DESC", seq),
    };
    let mut select = db.prepare_cached(&format!(
        "SELECT {MESSAGE_COLUMNS} FROM messages m JOIN conversations c ON c.id = m.conv_id
         WHERE m.conv_id = ?1 AND m.seq {bound} ?2 ORDER BY m.seq {order}",
    ))?;
    let mut rows = select.query(params![id, i64::try_from(from.0).unwrap_or(i64::MAX)])?;
    let mut history = History {
        messages: Vec::new(),
        head: Seq(head.unsigned_abs()),
        more: false,
    };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if history.messages.len() == limit || bytes >= PAGE_BYTES {
            history.more = true;
            break;
        }
        let message = message(row)?;
        bytes += message.data.get().len();
        history.messages.push(message);
    }
    Ok(history)
}
