//! Finds what a device has missed. The cost grows with what it has missed or its user has not read, with the
//! number of the user's teams, and with what has happened since the device last had everything; not with the
//! number of the user's conversations.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::conversations::{self, Cursors, Rank, TOP, Which};
use super::history::{MESSAGE_COLUMNS, message, number};
use super::unread;
use crate::ids::{ConvId, Uid};
use crate::store::{Device, Message, Missed, Page, Position, Stretch};

/// If more conversations than this had to be looked at, the position up to which the device has everything is
/// stored. The number is small in our own tests.
const LONG_WALK: usize = if cfg!(any(test, fuzzing)) { 2 } else { 256 };

/// The device has everything in its user's pairs and notices up to this `messages.id`, which is worth remembering.
pub(super) type Had = Option<i64>;

/// What a known device has missed; of one that is not known nothing is.
pub(super) fn missed(
    db: &Connection,
    device: &Device,
    most_conversations: usize,
    most_behind: usize,
) -> rusqlite::Result<(Missed, Had)> {
    let uid = &device.uid;
    let cursors = Cursors::of(db, uid, Some(&device.device))?;
    let mut concerned: BTreeMap<Reverse<Rank>, Position> = BTreeMap::new();
    let is_concerned = |position: &Position| position.unread > 0 || is_behind(position);
    let mut total = unread::total(db, uid)?;
    conversations::of_teams(db, uid, &cursors, |rank, position| {
        total += position.unread;
        if is_concerned(&position) {
            concerned.insert(Reverse(rank), position);
        }
    })?;
    let mut looked = 0;
    conversations::newest(db, uid, Which::UnreadPairs, (TOP, 0), |rank| {
        let position = conversations::position_of(db, uid, &cursors, rank.1)?;
        concerned.insert(Reverse(rank), position);
        looked += 1;
        Ok(looked <= most_conversations)
    })?;
    let walk = match &cursors {
        Cursors::Of(known) => {
            let since = known.had_row;
            // One more than are asked for says that there are more.
            let most = most_conversations.max(most_behind) + 1;
            walk(db, uid, &cursors, since, most, &mut concerned)?
        }
        Cursors::Nobodys | Cursors::OfStranger => None,
    };
    let behind = concerned.values().filter(|position| is_behind(position));
    let missed = Missed {
        unread: total,
        pending: behind.clone().map(|it| it.head.0 - it.cursor.0).sum(),
        behind: behind
            .take(most_behind)
            .map(|position| Stretch {
                conv: position.conv,
                after: position.cursor,
                through: position.head,
            })
            .collect(),
        more: concerned.len() > most_conversations,
        conversations: concerned.into_values().take(most_conversations).collect(),
    };
    Ok((missed, walk))
}

fn is_behind(position: &Position) -> bool {
    position.cursor < position.head
}

/// Adds the newest `most` pairs and notices that the device is behind in.
fn walk(
    db: &Connection,
    uid: &Uid,
    cursors: &Cursors,
    since: i64,
    most: usize,
    concerned: &mut BTreeMap<Reverse<Rank>, Position>,
) -> rusqlite::Result<Had> {
    let (mut looked, mut behind, mut oldest) = (0, 0, None);
    conversations::newest(db, uid, Which::Pairs, (TOP, since), |rank| {
        let position = conversations::position_of(db, uid, cursors, rank.1)?;
        looked += 1;
        if is_behind(&position) {
            concerned.insert(Reverse(rank), position);
            behind += 1;
            oldest = Some(rank.0);
        }
        Ok(behind < most)
    })?;
    if looked <= LONG_WALK || behind == most {
        return Ok(None);
    }
    match oldest {
        Some(row) => Ok(Some(row - 1)),
        None => db
            .prepare_cached("SELECT max(id) FROM messages")?
            .query_row([], |row| row.get(0)),
    }
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
