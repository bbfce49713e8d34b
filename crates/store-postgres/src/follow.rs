//! Reads what was committed since an earlier moment, by any node.
//!
//! A moment is the greatest id that is visible in a snapshot, with the transactions of smaller ids that were
//! running in it. The next look reads greater ids, and what those transactions have written meanwhile: so
//! nothing is missed, whatever the order of the commits, and a transaction that runs for hours (also one of
//! another database) delays nobody else. Invariant: a moment consists of ids of committed rows only. A crash
//! of PostgreSQL loses transactions that were not durable, and their numbers are used again; but those after
//! a durable transaction are always greater.

use mynah_store::follow::{News, Point, RecordId};
use mynah_store::ids::Seq;
use mynah_store::{ConvKind, Message, Page, Stretch};
use tokio_postgres::Row;

use super::failure::Failure;
use super::rows;
use super::session::{Session, Value};
use super::values::{Columns, kind_columns, message_columns, stored, uuid};

/// The numbers of the transactions that were running. Transactions without a number write nothing.
macro_rules! running {
    () => {
        "ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(pg_current_snapshot()) AS x)"
    };
}
pub(super) use running;

const POINT: &str = concat!(
    "SELECT ",
    running!(),
    ", (SELECT coalesce(max(id), 0) FROM messages)"
);
/// The messages after id `$1`, and those with ids from `$2` to `$3`.
const NEWS: &str = concat!(
    "SELECT s.running, n.last_id, n.later, n.conv, n.first, n.last, ",
    kind_columns!(),
    " FROM (SELECT ",
    running!(),
    " AS running) s
     LEFT JOIN (SELECT conv, min(seq) AS first, max(seq) AS last, max(id) AS last_id,
             count(*) FILTER (WHERE id > $1) AS later
         FROM (
             (SELECT conv, seq, id FROM messages WHERE id > $1 ORDER BY id LIMIT $4)
             UNION ALL
             SELECT m.conv, m.seq, m.id FROM unnest($2::bigint[], $3::bigint[]) AS q(first, last)
                 JOIN messages m ON m.id >= q.first AND m.id <= least(q.last, $1)
         ) new GROUP BY conv) n
     ON true
     LEFT JOIN conversations c ON c.conv = n.conv"
);
const MESSAGES: &str = concat!(
    "SELECT m.* FROM (SELECT m.id, ",
    message_columns!(),
    ", coalesce(sum(octet_length(m.data)) OVER (ORDER BY m.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
             AS before
         FROM messages m WHERE m.conv = $1 AND m.seq > $2 AND m.seq <= $3 ORDER BY m.seq LIMIT $4) m
     WHERE m.before < $5 ORDER BY m.seq"
);

/// Returns the ids of the messages of running transactions.
pub(super) fn ranges(base: i64, running: &[i64]) -> impl Iterator<Item = (RecordId, RecordId)> {
    let ids = move |transaction: &i64| {
        let (first, last) = rows::ids(base, *transaction);
        (RecordId(first), RecordId(last))
    };
    running.iter().map(ids)
}

/// See [`Follow::point`](mynah_store::follow::Follow::point).
pub(super) async fn point(session: &Session, base: i64) -> Result<Point, Failure> {
    let rows = session.query(POINT, &[]).await?;
    let mut row = Columns::of(rows.first().ok_or(Failure::Defect("no snapshot"))?);
    let (running, last): (Vec<i64>, i64) = (row.take()?, row.take()?);
    Ok(Point::new(RecordId(last), ranges(base, &running)))
}

/// See [`Follow::news`](mynah_store::follow::Follow::news).
pub(super) async fn news(session: &Session, base: i64, since: &Point, limit: u32) -> Result<News, Failure> {
    let (firsts, lasts): (Vec<i64>, Vec<i64>) = since
        .running()
        .iter()
        .map(|(first, last)| (first.0, last.0))
        .unzip();
    let limit = i64::from(limit.max(1));
    let values: [Value<'_>; 4] = [&since.last().0, &firsts, &lasts, &limit];
    let rows = session.query(NEWS, &values).await?;
    let mut row = Columns::of(rows.first().ok_or(Failure::Defect("no snapshot"))?);
    let running: Vec<i64> = row.take()?;
    let (mut last, mut later) = (since.last().0, 0);
    let mut conversations = Vec::new();
    for row in &rows {
        let mut row = Columns::of(row);
        row.skip(1);
        let Some(last_id) = row.take::<Option<i64>>()? else {
            continue;
        };
        last = last.max(last_id);
        later += row.take::<i64>()?;
        conversations.push(conversation(&mut row)?);
    }
    Ok(News {
        conversations,
        point: Point::new(RecordId(last), ranges(base, &running)),
        more: later == limit,
    })
}

fn conversation(row: &mut Columns<'_>) -> Result<(Stretch, ConvKind), Failure> {
    let (conv, first, last) = (row.conv()?, row.number()?, row.number()?);
    let stretch = Stretch {
        conv,
        after: Seq(first - 1),
        through: Seq(last),
    };
    Ok((stretch, row.kind()?))
}

/// See [`Follow::messages`](mynah_store::follow::Follow::messages).
pub(super) async fn messages(
    session: &Session,
    stretch: Stretch,
    page: Page,
) -> Result<Vec<(RecordId, Message)>, Failure> {
    let (after, through) = (stored(stretch.after.0), stored(stretch.through.0));
    let (most, bytes) = (i64::from(page.most.max(1)), stored(page.bytes.max(1) as u64));
    let values: [Value<'_>; 5] = [&uuid(stretch.conv), &after, &through, &most, &bytes];
    let message = |row: &Row| {
        let mut row = Columns::of(row);
        let id = RecordId(row.take()?);
        let message = row.message()?.ok_or(Failure::Defect("a message is missing"))?;
        Ok((id, message))
    };
    session
        .query(MESSAGES, &values)
        .await?
        .iter()
        .map(message)
        .collect()
}
