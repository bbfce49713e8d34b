//! Reads messages.

use std::sync::Arc;

use mynah_store::ids::{Cid, ConvId, Mid, Seq, Uid};
use mynah_store::{History, Message, Page, Span, StoreError};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::value::RawValue;

use super::failure::Failure;

/// The columns that [`message`] reads; `m` is the message, `c` its conversation.
pub(super) const MESSAGE_COLUMNS: &str =
    "m.kind, m.data, m.mid, c.conv, m.seq, m.sender, m.cid, m.ts, m.recalled";
/// The number of these columns.
pub(super) const MESSAGE_COLUMN_COUNT: usize = 9;
/// Reads a message from a row that begins with [`MESSAGE_COLUMNS`].
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

/// Reads a part of a conversation that is not closed. With a `viewer`, only what that user may see.
pub(super) fn read(
    db: &Connection,
    conv: ConvId,
    viewer: Option<&Uid>,
    span: Span,
    page: Page,
) -> Result<History, Failure> {
    let found = db
        .prepare_cached("SELECT id, head FROM conversations WHERE conv = ?1 AND closed = 0")?
        .query_row([conv.0], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    let nothing = match viewer {
        None => StoreError::NotFound("conversation"),
        Some(_) => StoreError::NOT_IN_IT,
    };
    let (id, head) = found.ok_or(nothing)?;
    let floor = match viewer {
        None => 0,
        Some(uid) => db
            .prepare_cached("SELECT floor FROM participants WHERE uid = ?1 AND conv_id = ?2")?
            .query_row(params![uid.as_str(), id], |row| row.get(0))
            .optional()?
            .ok_or(StoreError::NOT_IN_IT)?,
    };
    let (after, before, order) = match span {
        Span::After(seq) => (number(seq).max(floor), i64::MAX, "ASC"),
        Span::Before(seq) => (floor, number(seq), "DESC"),
    };
    let mut select = db.prepare_cached(&format!(
        "SELECT {MESSAGE_COLUMNS} FROM messages m JOIN conversations c ON c.id = m.conv_id
         WHERE m.conv_id = ?1 AND m.seq > ?2 AND m.seq < ?3 ORDER BY m.seq {order}",
    ))?;
    let mut rows = select.query(params![id, after, before])?;
    let mut history = History {
        messages: Vec::new(),
        head: Seq(head.unsigned_abs()),
        more: false,
    };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if page.is_full(history.messages.len(), bytes) {
            history.more = true;
            break;
        }
        let message = message(row)?;
        bytes += message.data.get().len();
        history.messages.push(message);
    }
    Ok(history)
}

/// Returns the value in the database.
pub(super) fn number(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}
