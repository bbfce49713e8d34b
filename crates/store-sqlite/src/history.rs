//! Reads messages.

use std::sync::Arc;

use mynah_store::ids::{ConvId, Uid};
use mynah_store::{History, Message, Page, Span, StoreError};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Rows, params};
use serde_json::value::RawValue;

use super::columns::{Columns, number};
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
        mid: row.mid(2)?,
        conv: row.conv(3)?,
        seq: row.seq(4)?,
        from: row.uid(5)?,
        cid: row.cid(6)?,
        ts: row.get(7)?,
        recalled,
    })
}

/// A page of messages that is being filled.
pub(super) struct Filling {
    page: Page,
    bytes: usize,
    pub(super) messages: Vec<Message>,
}

impl Filling {
    pub(super) fn new(page: Page) -> Self {
        Self {
            page,
            bytes: 0,
            messages: Vec::new(),
        }
    }

    /// Takes messages from rows that begin with [`MESSAGE_COLUMNS`]. Returns true if the page is full and
    /// there are more rows.
    pub(super) fn take(&mut self, mut rows: Rows<'_>) -> rusqlite::Result<bool> {
        while let Some(row) = rows.next()? {
            if self.page.is_full(self.messages.len(), self.bytes) {
                return Ok(true);
            }
            let message = message(row)?;
            self.bytes += message.data.get().len();
            self.messages.push(message);
        }
        Ok(false)
    }
}

/// Reads a part of a conversation, unless its team was deleted. With a `viewer`, only what that user may see.
pub(super) fn read(
    db: &Connection,
    conv: ConvId,
    viewer: Option<&Uid>,
    span: Span,
    page: Page,
) -> Result<History, Failure> {
    let found = db
        .prepare_cached("SELECT id, head FROM conversations WHERE conv = ?1 AND closed = 0")?
        .query_row([conv.0], |row| Ok((row.get::<_, i64>(0)?, row.seq(1)?)))
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
        Span::After(seq) => (number(seq.0).max(floor), i64::MAX, "ASC"),
        Span::Before(seq) => (floor, number(seq.0), "DESC"),
    };
    let mut select = db.prepare_cached(&format!(
        "SELECT {MESSAGE_COLUMNS} FROM messages m JOIN conversations c ON c.id = m.conv_id
         WHERE m.conv_id = ?1 AND m.seq > ?2 AND m.seq < ?3 ORDER BY m.seq {order}",
    ))?;
    let mut filling = Filling::new(page);
    let more = filling.take(select.query(params![id, after, before])?)?;
    Ok(History {
        messages: filling.messages,
        head,
        more,
    })
}
