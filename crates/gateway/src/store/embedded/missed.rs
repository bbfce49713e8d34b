//! What a device has missed. Costs grow with its user's conversations, and with what is replayed.

use rusqlite::{Connection, params};

use super::conversations::{self, Cursors};
use super::history::{MESSAGE_COLUMNS, message, number};
use crate::ids::{ConvId, Uid};
use crate::store::{Device, Message, Missed, Page, Position, Stretch};

/// What a known device has missed; of one that is not known nothing is.
pub(super) fn missed(
    db: &Connection,
    device: &Device,
    most_conversations: usize,
    most_behind: usize,
) -> rusqlite::Result<Missed> {
    let cursors = Cursors::of(db, &device.uid, Some(&device.device))?;
    let mut missed = Missed::default();
    let mut concerned = Vec::new();
    conversations::each(db, &device.uid, &cursors, |last_row, position: Position| {
        missed.unread += position.unread;
        missed.pending += position.head.0 - position.cursor.0;
        if position.unread > 0 || position.cursor < position.head {
            concerned.push((last_row, position));
        }
    })?;
    concerned.sort_unstable_by_key(|(last_row, position)| std::cmp::Reverse((*last_row, position.conv)));
    missed.behind = concerned
        .iter()
        .filter(|(_, position)| position.cursor < position.head)
        .take(most_behind)
        .map(|(_, position)| Stretch {
            conv: position.conv,
            after: position.cursor,
            through: position.head,
        })
        .collect();
    missed.more = concerned.len() > most_conversations;
    concerned.truncate(most_conversations);
    missed.conversations = concerned.into_iter().map(|(_, position)| position).collect();
    Ok(missed)
}

/// The messages of these stretches that `uid` may see, in order, until the page is full.
pub(super) fn replay(
    db: &Connection,
    uid: &Uid,
    stretches: &[Stretch],
    page: Page,
) -> rusqlite::Result<Vec<Message>> {
    let mut select = db.prepare_cached(&format!(
        "SELECT {MESSAGE_COLUMNS} FROM conversations c CROSS JOIN participants p CROSS JOIN messages m
         WHERE c.conv = ?1 AND c.closed = 0 AND p.uid = ?2 AND p.conv_id = c.id
             AND m.conv_id = c.id AND m.seq > max(?3, p.floor) AND m.seq <= ?4
         ORDER BY m.seq",
    ))?;
    let mut found = Vec::new();
    let mut bytes = 0;
    for stretch in stretches {
        let ConvId(conv) = stretch.conv;
        let mut rows = select.query(params![
            conv,
            uid.as_str(),
            number(stretch.after),
            number(stretch.through)
        ])?;
        while let Some(row) = rows.next()? {
            if page.is_full(found.len(), bytes) {
                return Ok(found);
            }
            let message = message(row)?;
            bytes += message.data.get().len();
            found.push(message);
        }
    }
    Ok(found)
}
