//! Recalls a message, in a transaction of its own.

use mynah_store::ids::{ConvId, Uid};
use mynah_store::mids::Mids;
use mynah_store::{ConvKind, Recall, Recalled, StoreError};

use super::age::Age;
use super::batch::{Draft, is_in, side};
use super::failure::Failure;
use super::log::Log;
use super::rows::Moment;
use super::session::Session;
use super::values::{Columns, stored, uuid};

const FIND: &str = "SELECT conv, seq FROM messages WHERE mid = $1";
const READ: &str = "SELECT id, kind, ts, counts, recalled, sender FROM messages WHERE conv = $1 AND seq = $2";
const TAKE_BACK: &str = "UPDATE messages SET recalled = true, data = 'null' WHERE conv = $1 AND seq = $2";
const REMEMBER: &str = "INSERT INTO recalls (conv, seq, sender) VALUES ($1, $2, $3)";
const COUNT: &str = "UPDATE conversations SET recalls = recalls + 1 WHERE conv = $1";
const HAS_NOT_READ: &str = "SELECT read < $3 FROM participants WHERE uid = $1 AND conv = $2";

/// Executes `order` in the transaction that has begun.
pub(super) async fn recall(
    session: &Session,
    (moment, mids): (Moment, &mut Mids),
    age: &Age,
    order: &Recall,
) -> Result<Recalled, Failure> {
    const NONE: StoreError = StoreError::NotFound("message");
    let rows = session.query(FIND, &[&order.mid.0]).await?;
    let mut row = Columns::of(rows.first().ok_or(NONE)?);
    let (conv, seq) = (row.conv()?, row.number()?);
    let mut log = Log::lock(session, conv, (moment, mids)).await?.ok_or(NONE)?;
    if log.head.closed {
        return Err(NONE.into());
    }
    // Read again, now that nobody else can change it.
    let rows = session.query(READ, &[&uuid(conv), &stored(seq)]).await?;
    let mut row = Columns::of(rows.first().ok_or(NONE)?);
    let (id, kind, ts): (i64, i32, _) = (row.take()?, row.take()?, row.number()?);
    let (counts, recalled): (bool, bool) = (row.take()?, row.take()?);
    let is_own = row.uid()?.as_ref() == Some(&order.by);
    let members = match &log.head.kind {
        ConvKind::Team(_) => Some(log.members(session).await?),
        ConvKind::Pair(..) | ConvKind::Notices(_) => None,
    };
    if !is_own {
        return Err(StoreError::Forbidden("only its sender may take a message back").into());
    }
    if kind == i32::from(order.kind) {
        return Err(StoreError::Forbidden("that a message was taken back cannot be taken back").into());
    }
    if members.is_some() && !is_in(members.as_ref(), &order.by) {
        return Err(StoreError::Forbidden("who has left a team may not change it").into());
    }
    if recalled {
        return Err(StoreError::Conflict("this message was taken back before").into());
    }
    if age.of(log.moment.now, id, ts) > order.window_ms {
        return Err(StoreError::Forbidden("this message is too old to be taken back").into());
    }
    session.execute(TAKE_BACK, &[&uuid(conv), &stored(seq)]).await?;
    if counts {
        forget_unread(session, &mut log, &order.by, seq).await?;
    }
    let sent = log.head.sent;
    let own = match &log.head.kind {
        ConvKind::Pair(_, a, b) => Some(sent[usize::from(a != b && order.by == *b)]),
        ConvKind::Notices(_) => Some(sent[0]),
        ConvKind::Team(_) => None,
    };
    let mut appended = log.write(Draft {
        kind: order.kind,
        counts: false,
        from: Some(&order.by),
        cid: None,
        cid_hash: None,
        own,
        member_sent: None,
        data: order.data.get(),
    });
    log.save(session).await?;
    appended.members = members;
    Ok(Recalled {
        appended,
        kind: log.head.kind,
    })
}

/// The message counted as unread, and is not unread any more for anybody.
async fn forget_unread(session: &Session, log: &mut Log<'_>, by: &Uid, seq: u64) -> Result<(), Failure> {
    let conv: ConvId = log.conv;
    session
        .execute(REMEMBER, &[&uuid(conv), &stored(seq), &by.as_str()])
        .await?;
    session.execute(COUNT, &[&uuid(conv)]).await?;
    let Some(reader) = reader(&log.head.kind, by) else {
        return Ok(());
    };
    let rows = session
        .query(HAS_NOT_READ, &[&reader.as_str(), &uuid(conv), &stored(seq)])
        .await?;
    if let Some(row) = rows.first()
        && row.try_get(0)?
        && let Some(side) = side(&log.head.kind, reader)
    {
        log.head.unread[side] = log.head.unread[side].saturating_sub(1);
    }
    Ok(())
}

/// Returns the user for whom a message by `sender` may be unread; `None` in a team.
fn reader<'a>(kind: &'a ConvKind, sender: &Uid) -> Option<&'a Uid> {
    match kind {
        ConvKind::Pair(_, a, b) if sender == a => Some(b),
        ConvKind::Pair(_, a, _) => Some(a),
        ConvKind::Notices(owner) => Some(owner),
        ConvKind::Team(_) => None,
    }
    .filter(|reader| *reader != sender)
}
