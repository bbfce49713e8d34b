//! A user's conversations, and their unread messages.
//!
//! The cost grows with the size of the answer, with the number of the user's teams, and, for the sum of
//! unread messages, with the number of conversations that have any. It does not grow with the store, or with
//! the number of the user's pairs and notices, of which any client may make many.

use mynah_store::ids::{DeviceId, Seq, Uid};
use mynah_store::{Conversation, Conversations, Page, Position, StoreError};

use super::failure::Failure;
use super::session::{Session, Value};
use super::unread::{count_unread, own_before, unread};
use super::values::{Columns, kind_columns, message_columns};

/// The sort key of a user's list, in descending order: `last_row` and `made`.
pub(super) type Rank = (i64, i64);

/// The rank before the beginning of any list.
pub(super) const TOP: Rank = (i64::MAX, i64::MAX);

/// The cursor in conversation `c` of participant `p`, of the device with the number `$2` that became known at
/// row `$3`; 0 is nobody's, and a device that is not known (-1) misses nothing.
macro_rules! cursor {
    () => {
        "CASE $2::bigint WHEN 0 THEN 0 WHEN -1 THEN c.head ELSE least(c.head, greatest(coalesce(
             (SELECT k.seq FROM cursors k WHERE k.device_id = $2 AND k.conv = c.conv),
             CASE WHEN c.last_row <= $3 THEN c.head ELSE head_then(c.conv, c.head, $3) END), p.floor, c.gone)) END"
    };
}

/// The columns that [`position`] reads.
macro_rules! position_columns {
    () => {
        concat!(
            "c.last_row, c.made, c.conv, c.head, ",
            cursor!(),
            ", greatest(p.read, c.gone), ",
            unread!()
        )
    };
}

/// One part of a user's (`$1`) list: of one side, with or without unread messages, behind the rank ($4, $5),
/// with messages behind row `$6`, at most `$7`.
macro_rules! side {
    (a, $unread:literal) => {
        concat!(
            "(SELECT conv, last_row, made FROM conversations WHERE a = $1 AND (unread_a > 0)::int = ",
            $unread,
            " AND last_row > $6 AND (last_row, made) < ($4, $5) ORDER BY last_row DESC, made DESC LIMIT $7)"
        )
    };
    (b, $unread:literal) => {
        concat!(
            "(SELECT conv, last_row, made FROM conversations WHERE b = $1 AND b <> a AND (unread_b > 0)::int = ",
            $unread,
            " AND last_row > $6 AND (last_row, made) < ($4, $5) ORDER BY last_row DESC, made DESC LIMIT $7)"
        )
    };
}
macro_rules! unread_pairs {
    () => {
        concat!(side!(a, "1"), " UNION ALL ", side!(b, "1"))
    };
}
macro_rules! pairs {
    () => {
        concat!(
            unread_pairs!(),
            " UNION ALL ",
            side!(a, "0"),
            " UNION ALL ",
            side!(b, "0")
        )
    };
}
macro_rules! positions_of {
    ($ids:expr) => {
        concat!(
            "SELECT ",
            position_columns!(),
            " FROM (SELECT * FROM (",
            $ids,
            ") q ORDER BY last_row DESC, made DESC LIMIT $7) q JOIN conversations c ON c.conv = q.conv
             JOIN participants p ON p.conv = c.conv AND p.uid = $1 ORDER BY c.last_row DESC, c.made DESC"
        )
    };
}

/// The user's pairs and notices with unread messages, newest first.
pub(super) const UNREAD_PAIRS: &str = positions_of!(unread_pairs!());
/// All pairs and notices, newest first.
pub(super) const PAIRS: &str = positions_of!(pairs!());
/// All teams of the user in which something was written.
pub(super) const OF_TEAMS: &str = concat!(
    "SELECT ",
    position_columns!(),
    " FROM participants p JOIN conversations c ON c.conv = p.conv
     WHERE p.uid = $1 AND p.member AND NOT c.closed AND c.last_row > 0"
);
const LIST: &str = concat!(
    "SELECT ",
    position_columns!(),
    ", ",
    kind_columns!(),
    ", ",
    message_columns!(),
    " FROM (SELECT * FROM (",
    pairs!(),
    " UNION ALL (SELECT c.conv, c.last_row, c.made FROM participants p JOIN conversations c ON c.conv = p.conv
         WHERE p.uid = $1 AND p.member AND NOT c.closed AND c.last_row > $6 AND (c.last_row, c.made) < ($4, $5)
         ORDER BY c.last_row DESC, c.made DESC LIMIT $7)) q ORDER BY last_row DESC, made DESC LIMIT $7) q
     JOIN conversations c ON c.conv = q.conv
     JOIN participants p ON p.conv = c.conv AND p.uid = $1
     LEFT JOIN messages m ON m.conv = c.conv AND m.seq = c.head AND m.seq > p.floor
     ORDER BY c.last_row DESC, c.made DESC"
);
const UNREAD: &str = concat!(
    "SELECT (coalesce((SELECT sum(unread_a) FROM conversations WHERE a = $1 AND (unread_a > 0)::int = 1), 0)
         + coalesce((SELECT sum(unread_b) FROM conversations WHERE b = $1 AND b <> a AND (unread_b > 0)::int = 1), 0)
         + coalesce((SELECT sum(",
    count_unread!(),
    ") FROM participants p JOIN conversations c ON c.conv = p.conv
             WHERE p.uid = $1 AND p.member AND NOT c.closed), 0))::bigint"
);
const UNREAD_OF_PAIRS: &str =
    "SELECT (coalesce((SELECT sum(unread_a) FROM conversations WHERE a = $1 AND (unread_a > 0)::int = 1), 0)
         + coalesce((SELECT sum(unread_b) FROM conversations WHERE b = $1 AND b <> a AND (unread_b > 0)::int = 1), 0))::bigint";
const DEVICE: &str = "SELECT id, since, had FROM devices WHERE uid = $1 AND device = $2";

/// The device whose cursors are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursors {
    /// The device's row; 0 if no device is given; -1 if the device is unknown.
    pub(super) device: i64,
    pub(super) since: i64,
    /// In pairs and notices it has everything up to this row.
    pub(super) had: i64,
}

impl Cursors {
    pub(super) async fn of(session: &Session, uid: &Uid, device: Option<&DeviceId>) -> Result<Self, Failure> {
        let none = |device| Self {
            device,
            since: 0,
            had: 0,
        };
        let Some(device) = device else { return Ok(none(0)) };
        let rows = session.query(DEVICE, &[&uid.as_str(), &device.as_str()]).await?;
        let Some(row) = rows.first() else {
            return Ok(none(-1));
        };
        Ok(Self {
            device: row.try_get(0)?,
            since: row.try_get(1)?,
            had: row.try_get(2)?,
        })
    }

    /// Whether the device is known.
    pub(super) fn is_known(&self) -> bool {
        self.device > 0
    }
}

/// The positions of a user and a device in a conversation, and its rank in the list.
pub(super) fn position(row: &mut Columns<'_>) -> Result<(Rank, Position), Failure> {
    Ok((
        (row.take()?, row.take()?),
        Position {
            conv: row.conv()?,
            head: Seq(row.number()?),
            cursor: Seq(row.number()?),
            read: Seq(row.number()?),
            unread: row.number()?,
        },
    ))
}

/// Returns at most `most` of a user's conversations after a rank that have messages after row `since`.
pub(super) async fn positions(
    session: &Session,
    sql: &'static str,
    (uid, cursors): (&Uid, &Cursors),
    (after, since): (Rank, i64),
    most: usize,
) -> Result<Vec<(Rank, Position)>, Failure> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let values: [Value<'_>; 7] = [
        &uid.as_str(),
        &cursors.device,
        &cursors.since,
        &after.0,
        &after.1,
        &since,
        &most,
    ];
    let rows = session.query(sql, &values).await?;
    rows.iter().map(|row| position(&mut Columns::of(row))).collect()
}

/// A page of `uid`'s conversations, newest first, after the position that `after` names.
pub(super) async fn page(
    session: &Session,
    uid: &Uid,
    device: Option<&DeviceId>,
    after: Option<&str>,
    page: Page,
) -> Result<Conversations, Failure> {
    let after = match after {
        None => TOP,
        Some(text) => parse_rank(text).ok_or(StoreError::NotFound("position in the list"))?,
    };
    let cursors = Cursors::of(session, uid, device).await?;
    let values: [Value<'_>; 7] = [
        &uid.as_str(),
        &cursors.device,
        &cursors.since,
        &after.0,
        &after.1,
        &-1i64,
        &(i64::from(page.most) + 1),
    ];
    let rows = session.query(LIST, &values).await?;
    let mut found = Conversations {
        conversations: Vec::new(),
        next: None,
    };
    let (mut bytes, mut last_rank) = (0, TOP);
    for row in &rows {
        if page.is_full(found.conversations.len(), bytes) {
            found.next = Some(format!("{:x}.{:x}", last_rank.0, last_rank.1));
            break;
        }
        let mut row = Columns::of(row);
        let (rank, position) = position(&mut row)?;
        let kind = row.kind()?;
        let last = row.message()?;
        bytes += last.as_ref().map_or(0, |last| last.data.get().len());
        last_rank = rank;
        found.conversations.push(Conversation {
            conv: position.conv,
            kind,
            head: position.head,
            cursor: position.cursor,
            read: position.read,
            unread: position.unread,
            last,
        });
    }
    Ok(found)
}

/// The sum over the user's conversations.
pub(super) async fn unread(session: &Session, uid: &Uid) -> Result<u64, Failure> {
    sum(session, UNREAD, uid).await
}

/// The sum over the user's pairs and notices.
pub(super) async fn unread_of_pairs(session: &Session, uid: &Uid) -> Result<u64, Failure> {
    sum(session, UNREAD_OF_PAIRS, uid).await
}

async fn sum(session: &Session, sql: &'static str, uid: &Uid) -> Result<u64, Failure> {
    let rows = session.query(sql, &[&uid.as_str()]).await?;
    Columns::of(rows.first().ok_or(Failure::Defect("no sum"))?).number()
}

fn parse_rank(text: &str) -> Option<Rank> {
    let (row, made) = text.split_once('.')?;
    Some((
        i64::from_str_radix(row, 16).ok()?,
        i64::from_str_radix(made, 16).ok()?,
    ))
}
