//! Reads messages.

use mynah_store::ids::{ConvId, Seq, Uid};
use mynah_store::{History, Message, Page, Span, StoreError, Stretch};

use super::failure::Failure;
use super::session::Session;
use super::values::{Columns, message_columns, stored, uuid};

const PLACE: &str = "SELECT c.head, c.gone, p.floor FROM conversations c
     LEFT JOIN participants p ON p.conv = c.conv AND p.uid = $2 WHERE c.conv = $1 AND NOT c.closed";
/// A page in one direction. A row is read if the rows before it have fewer bytes than the page may have.
macro_rules! page {
    ($order:literal) => {
        concat!(
            "SELECT m.* FROM (SELECT ",
            message_columns!(),
            ", coalesce(sum(octet_length(m.data)) OVER (ORDER BY m.seq ",
            $order,
            " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
                 FROM messages m WHERE m.conv = $1 AND m.seq > $2 AND m.seq < $3 ORDER BY m.seq ",
            $order,
            " LIMIT $4) m WHERE m.before < $5 ORDER BY m.seq ",
            $order
        )
    };
}
const UP: &str = page!("ASC");
const DOWN: &str = page!("DESC");
/// What a user who is in a conversation, or has left it, may see between two messages.
const REPLAY: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM conversations c
         LEFT JOIN participants p ON p.uid = $2 AND p.conv = c.conv AND NOT c.closed
         LEFT JOIN departures x ON x.uid = $2 AND x.conv = c.conv AND p.uid IS NULL
         JOIN messages m ON m.conv = c.conv AND m.seq > $3 AND m.seq <= $4
     WHERE c.conv = $1
         AND m.seq > coalesce(p.floor, CASE WHEN c.closed THEN x.seq - 1 ELSE greatest(x.floor, c.gone) END)
         AND (p.uid IS NOT NULL OR m.seq <= x.head OR m.seq = x.seq)
     ORDER BY m.seq LIMIT $5"
);

/// Returns a part of a conversation, unless its team was deleted. With a `viewer`, only what that user may
/// see.
pub(super) async fn read(
    session: &Session,
    conv: ConvId,
    viewer: Option<&Uid>,
    span: Span,
    page: Page,
) -> Result<History, Failure> {
    let rows = session
        .query(PLACE, &[&uuid(conv), &viewer.map(Uid::as_str)])
        .await?;
    let nothing = match viewer {
        None => StoreError::NotFound("conversation"),
        Some(_) => StoreError::NOT_IN_IT,
    };
    let mut row = Columns::of(rows.first().ok_or(nothing)?);
    let (head, gone, floor) = (row.number()?, row.number()?, row.some_number()?);
    let floor = match viewer {
        None => 0,
        Some(_) => floor.ok_or(StoreError::NOT_IN_IT)?,
    };
    let (sql, after, before) = match span {
        Span::After(seq) => (UP, seq.0.max(floor), u64::MAX),
        Span::Before(seq) => (DOWN, floor, seq.0),
    };
    let bytes = stored(page.bytes.max(1) as u64);
    let values: [super::session::Value<'_>; 5] = [
        &uuid(conv),
        &stored(after),
        &stored(before),
        &i64::from(page.most),
        &bytes,
    ];
    let messages = messages(&session.query(sql, &values).await?)?;
    // Messages follow each other without gaps.
    let more = messages.last().is_some_and(|last| match span {
        Span::After(_) => last.seq.0 < head,
        Span::Before(_) => last.seq.0 > floor.max(gone) + 1,
    });
    Ok(History {
        head: Seq(messages.last().map_or(head, |last| head.max(last.seq.0))),
        messages,
        more,
    })
}

/// The messages of these stretches that `uid` may see, in order, until the page is full.
pub(super) async fn replay(
    session: &Session,
    uid: &Uid,
    stretches: &[Stretch],
    page: Page,
) -> Result<Vec<Message>, Failure> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for stretch in stretches {
        let mut after = stretch.after.0;
        loop {
            let left = (page.most as usize).saturating_sub(found.len());
            // Large payloads are read a few at a time.
            let limit = left.min(64) as i64;
            let values: [super::session::Value<'_>; 5] = [
                &uuid(stretch.conv),
                &uid.as_str(),
                &stored(after),
                &stored(stretch.through.0),
                &limit,
            ];
            let some = messages(&session.query(REPLAY, &values).await?)?;
            let is_end = (some.len() as i64) < limit;
            for message in some {
                if page.is_full(found.len(), bytes) {
                    return Ok(found);
                }
                bytes += message.data.get().len();
                after = message.seq.0;
                found.push(message);
            }
            if page.is_full(found.len(), bytes) {
                return Ok(found);
            }
            if is_end {
                break;
            }
        }
    }
    Ok(found)
}

fn messages(rows: &[tokio_postgres::Row]) -> Result<Vec<Message>, Failure> {
    let messages = rows.iter().map(|row| {
        Columns::of(row)
            .message()?
            .ok_or(Failure::Defect("a message is missing"))
    });
    messages.collect()
}
