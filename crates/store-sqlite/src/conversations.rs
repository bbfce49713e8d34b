//! A user's conversations and their unread messages.
//!
//! The cost grows with the size of the result and with the number of the user's teams, which only the backend
//! creates. It does not grow with the size of the store, or with the number of the user's pairs and notices,
//! of which any client can create many.

use mynah_store::ids::{DeviceId, Seq, Uid};
use mynah_store::{Conversation, Conversations, Page, Position, StoreError};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use super::columns::Columns;
use super::devices::{self, At, Known, head_then};
use super::failure::Failure;
use super::heads;
use super::history::{MESSAGE_COLUMN_COUNT, MESSAGE_COLUMNS, message};
use super::totals;

/// The running values (schema/8.sql) from which the unread messages of participant `p` in conversation `c`
/// are counted: those at the read position, or, if retention has deleted more, those at the last deleted
/// message. In the latter case a member's own messages are counted from the first one that is left.
const FROM_COUNTED: &str = "CASE WHEN p.read >= c.gone THEN p.read_counted ELSE c.gone_counted END";
const FROM_SENT: &str = "CASE
    WHEN p.read >= c.gone THEN p.read_sent
    WHEN p.member THEN coalesce((SELECT s.member_sent - 1 FROM messages s
        WHERE s.conv_id = c.id AND s.sender = p.uid AND s.seq > max(c.gone, p.joined) AND s.member_sent IS NOT NULL
        ORDER BY s.seq LIMIT 1), p.sent)
    WHEN c.a = p.uid THEN c.gone_a ELSE c.gone_b END";

/// SQL for the number of unread messages of participant `p` in conversation `c`: those after these values
/// that count as unread, without the user's own and without recalled ones. A recalled message of the user is
/// one of its own, so it is not subtracted a second time.
pub(super) fn count_sql() -> String {
    format!(
        "max(0, c.counted - {FROM_COUNTED}
            - (CASE WHEN p.member THEN p.sent WHEN c.a = p.uid THEN c.sent_a ELSE c.sent_b END - {FROM_SENT})
            - CASE WHEN c.recalls = 0 THEN 0 ELSE (SELECT count(*) FROM recalls r
                WHERE r.conv_id = c.id AND r.seq > p.read AND r.sender IS NOT p.uid) END)"
    )
}

/// The same, but for pairs and notices the number is read from the row.
fn unread_sql() -> String {
    format!(
        "CASE WHEN p.member THEN {} WHEN c.a = p.uid THEN c.unread_a ELSE c.unread_b END",
        count_sql()
    )
}

/// The device whose cursors are shown.
pub(super) enum Cursors {
    /// No device: all cursors are 0.
    NoDevice,
    /// An unknown device, which misses nothing: all cursors are at the head.
    Unknown,
    /// A known device.
    Of(Known),
}

impl Cursors {
    pub(super) fn of(db: &Connection, uid: &Uid, device: Option<&DeviceId>) -> rusqlite::Result<Self> {
        Ok(match device {
            None => Self::NoDevice,
            Some(device) => devices::load(db, uid, device)?.map_or(Self::Unknown, Self::Of),
        })
    }

    /// Returns the row number of the device; 0 if there is none.
    pub(super) fn row(&self) -> i64 {
        match self {
            Self::Of(known) => known.id,
            Self::NoDevice | Self::Unknown => 0,
        }
    }

    /// Returns the cursor in the conversation of a row with [`position_columns`], which begin at column `at`.
    fn cursor(&self, db: &Connection, row: &Row<'_>, at: usize) -> rusqlite::Result<Seq> {
        let conversation = At {
            conv_id: row.get(at)?,
            last_row: row.get(at + 1)?,
            head: row.get(at + 3)?,
        };
        let stored: Option<u64> = row.get(at + 7)?;
        let cursor = match (self, stored) {
            (Self::NoDevice, _) => return Ok(Seq(0)),
            (Self::Unknown, _) => conversation.head,
            (Self::Of(_), Some(seq)) => seq,
            (Self::Of(known), None) => head_then(db, conversation, known.since_row)?,
        };
        Ok(Seq(cursor.max(row.get(at + 6)?).min(conversation.head)))
    }
}

/// The columns that [`position`] reads, of conversation `c`, participant `p` and cursor `k`.
fn position_columns() -> String {
    format!(
        "c.id, c.last_row, c.conv, c.head, max(p.read, c.gone), {}, max(p.floor, c.gone), k.seq",
        unread_sql()
    )
}

/// Reads a position from [`position_columns`], which begin at column `at`.
pub(super) fn position(
    db: &Connection,
    cursors: &Cursors,
    row: &Row<'_>,
    at: usize,
) -> rusqlite::Result<Position> {
    Ok(Position {
        conv: row.conv(at + 2)?,
        head: row.seq(at + 3)?,
        cursor: cursors.cursor(db, row, at)?,
        read: row.seq(at + 4)?,
        unread: row.get(at + 5)?,
    })
}

/// The sort key of a user's list of conversations, in descending order: the newest `messages.id`, then
/// `conversations.id`.
pub(super) type Rank = (i64, i64);

/// The rank before the beginning of any list.
pub(super) const TOP: Rank = (i64::MAX, i64::MAX);

/// A selection of a user's conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All.
    All,
    /// Pairs and notices.
    Pairs,
    /// Pairs and notices with unread messages.
    UnreadPairs,
}

/// A part of a user's list of conversations.
pub(super) struct Part {
    pub(super) which: Which,
    /// After this rank.
    pub(super) after: Rank,
    /// Only conversations that have messages after this row.
    pub(super) since: i64,
}

impl Part {
    /// All conversations that have messages.
    pub(super) fn all(which: Which) -> Self {
        Self {
            which,
            after: TOP,
            since: 0,
        }
    }
}

/// SQL for the ranks of a user's (`?1`) conversations after rank (`?2`, `?3`) that have messages after row
/// `?4`, newest first. Each part is read from its index in order, so that the cost of a page grows only with
/// its length.
pub(super) fn ranks_sql(which: Which) -> String {
    let pairs = |side: &str, unread: u8| {
        let same = if side == "b" { " AND b <> a" } else { "" };
        format!(
            "SELECT last_row, id FROM conversations INDEXED BY conversations_by_{side}
             WHERE {side} = ?1{same} AND (unread_{side} > 0) = {unread} AND last_row > ?4 AND (last_row, id) < (?2, ?3)"
        )
    };
    let teams = "SELECT c.last_row, c.id FROM participants p INDEXED BY participants_of_teams
             CROSS JOIN conversations c ON c.id = p.conv_id
             WHERE p.uid = ?1 AND p.member = 1 AND c.closed = 0 AND c.last_row > ?4
                 AND (c.last_row, c.id) < (?2, ?3)";
    let mut parts = vec![pairs("a", 1), pairs("b", 1)];
    if which != Which::UnreadPairs {
        parts.extend([pairs("a", 0), pairs("b", 0)]);
    }
    if which == Which::All {
        parts.push(teams.to_owned());
    }
    format!("{} ORDER BY 1 DESC, 2 DESC", parts.join(" UNION ALL "))
}

/// Calls `each` for a user's conversations after rank `after` that have messages after row `since`, newest
/// first, until it returns false.
pub(super) fn newest(
    db: &Connection,
    uid: &Uid,
    Part { which, after, since }: Part,
    mut each: impl FnMut(Rank) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(&ranks_sql(which))?;
    let mut rows = select.query(params![uid.as_str(), after.0, after.1, since])?;
    while let Some(row) = rows.next()? {
        if !each((row.get(0)?, row.get(1)?))? {
            break;
        }
    }
    Ok(())
}

/// Returns the positions of a user and a device in the conversation of this row.
pub(super) fn position_of(
    db: &Connection,
    uid: &Uid,
    cursors: &Cursors,
    conv_id: i64,
) -> rusqlite::Result<Position> {
    db.prepare_cached(&format!(
        "SELECT {} FROM conversations c JOIN participants p ON p.conv_id = c.id
         LEFT JOIN cursors k ON k.device_id = ?3 AND k.conv_id = c.id
         WHERE c.id = ?1 AND p.uid = ?2",
        position_columns()
    ))?
    .query_row(params![conv_id, uid.as_str(), cursors.row()], |row| {
        position(db, cursors, row, 0)
    })
}

/// Calls `each` with the positions of a user and a device in each of the user's teams that has messages, in
/// no particular order. This is one statement for all teams, because a user may be in thousands of them.
pub(super) fn of_teams(
    db: &Connection,
    uid: &Uid,
    cursors: &Cursors,
    mut each: impl FnMut(Rank, Position),
) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(&of_teams_sql())?;
    let mut rows = select.query(params![uid.as_str(), cursors.row()])?;
    while let Some(row) = rows.next()? {
        each((row.get(1)?, row.get(0)?), position(db, cursors, row, 0)?);
    }
    Ok(())
}

pub(super) fn of_teams_sql() -> String {
    format!(
        "SELECT {} FROM participants p INDEXED BY participants_of_teams
         CROSS JOIN conversations c ON c.id = p.conv_id
         LEFT JOIN cursors k ON k.device_id = ?2 AND k.conv_id = c.id
         WHERE p.uid = ?1 AND p.member = 1 AND c.closed = 0 AND c.last_row > 0",
        position_columns()
    )
}

/// Returns a page of the conversations of `uid`, newest first, after the position in `after`.
pub(super) fn page(
    db: &Connection,
    uid: &Uid,
    device: Option<&DeviceId>,
    after: Option<&str>,
    page: Page,
) -> Result<Conversations, Failure> {
    let after = match after {
        None => TOP,
        Some(text) => parse_position(text).ok_or(StoreError::NotFound("position in the list"))?,
    };
    let cursors = Cursors::of(db, uid, device)?;
    let mut ids = Vec::new();
    let part = Part {
        after,
        since: -1,
        ..Part::all(Which::All)
    };
    newest(db, uid, part, |rank| {
        ids.push(rank);
        Ok(ids.len() <= page.most as usize)
    })?;
    let mut select = db.prepare_cached(&format!(
        "SELECT {MESSAGE_COLUMNS}, c.kind, c.a, c.b, c.team, {}
         FROM conversations c JOIN participants p ON p.conv_id = c.id
         LEFT JOIN cursors k ON k.device_id = ?3 AND k.conv_id = c.id
         LEFT JOIN messages m ON m.id = c.last_row AND m.seq > p.floor
         WHERE c.id = ?1 AND p.uid = ?2",
        position_columns()
    ))?;
    let mut found = Conversations {
        conversations: Vec::new(),
        next: None,
    };
    let mut bytes = 0;
    for (index, (_, id)) in ids.iter().enumerate() {
        if page.is_full(index, bytes) {
            found.next = ids[..index].last().map(|(row, id)| format!("{row:x}.{id:x}"));
            break;
        }
        let line = select.query_row(params![id, uid.as_str(), cursors.row()], |row| {
            line(db, &cursors, row)
        })?;
        bytes += line
            .iter()
            .flat_map(|line| &line.last)
            .map(|last| last.data.get().len())
            .sum::<usize>();
        found.conversations.extend(line);
    }
    Ok(found)
}

/// Reads one conversation. Returns `None` for a row that no version of this program writes.
fn line(db: &Connection, cursors: &Cursors, row: &Row<'_>) -> rusqlite::Result<Option<Conversation>> {
    const KIND: usize = MESSAGE_COLUMN_COUNT;
    let is_empty = row.get_ref(0)?.data_type() == Type::Null;
    let last = if is_empty { None } else { Some(message(row)?) };
    let Some(kind) = heads::kind(row, KIND)? else {
        return Ok(None);
    };
    let position = position(db, cursors, row, KIND + 4)?;
    Ok(Some(Conversation {
        conv: position.conv,
        kind,
        head: position.head,
        cursor: position.cursor,
        read: position.read,
        unread: position.unread,
        last,
    }))
}

/// Returns the user's unread messages in all conversations: teams are counted, and the sum of the others is
/// stored.
pub(super) fn unread(db: &Connection, uid: &Uid) -> rusqlite::Result<u64> {
    let in_teams = db
        .prepare_cached(&unread_in_teams_sql())?
        .query_row([uid.as_str()], |row| row.get::<_, u64>(0))?;
    Ok(totals::total(db, uid)? + in_teams)
}

pub(super) fn unread_in_teams_sql() -> String {
    format!(
        "SELECT coalesce(sum({}), 0) FROM participants p INDEXED BY participants_of_teams
         CROSS JOIN conversations c ON c.id = p.conv_id
         WHERE p.uid = ?1 AND p.member = 1 AND c.closed = 0",
        count_sql()
    )
}

/// SQL for the running value, at message `m` of conversation `c`, of messages by `p.uid` that count as
/// unread. In a pair, messages that the sender of `m` has not sent are the other user's; in notices the value
/// is that of their owner; for a member it is the value before its next message, because retention may have
/// deleted the one before.
pub(super) const OWN_AT: &str = "CASE
    WHEN p.member THEN coalesce((SELECT s.member_sent - 1 FROM messages s
        WHERE s.conv_id = c.id AND s.sender = p.uid AND s.seq > max(m.seq, p.joined) AND s.member_sent IS NOT NULL
        ORDER BY s.seq LIMIT 1), p.sent)
    WHEN c.b IS NULL OR m.sender = p.uid THEN coalesce(m.own, 0)
    ELSE m.counted - m.own END";

fn parse_position(text: &str) -> Option<(i64, i64)> {
    let (row, id) = text.split_once('.')?;
    Some((
        i64::from_str_radix(row, 16).ok()?,
        i64::from_str_radix(id, 16).ok()?,
    ))
}
