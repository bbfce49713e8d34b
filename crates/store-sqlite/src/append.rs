//! Appends one message to its conversation, in the writer's transaction.

use mynah_store::ids::{ConvId, DeviceId, Uid};
use mynah_store::{Append, Appended, ConvKind, Device, Members, Place, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use super::cids::Sent;
use super::devices::{At, Known};
use super::failure::Failure;
use super::heads::Head;
use super::jobs;
use super::log::{self, Draft};
use super::tx::Tx;
use super::unread;

/// The error for an append that is not a repetition although only that was requested.
const NOT_BEFORE: StoreError = StoreError::NotFound("message of this sender with this cid");

/// Appends `order`, or returns the message if it was appended before.
pub(super) fn append(tx: &mut Tx<'_>, order: &Append) -> Result<Appended, Failure> {
    let from = order.from.as_ref();
    let (conv, members) = find_place(tx, order)?;
    let is_new =
        (order.only_repeat || order.new_pairs_per_hour > 0) && tx.state.heads.known(tx.db, conv)?.is_none();
    if is_new {
        if order.only_repeat {
            return Err(NOT_BEFORE.into());
        }
        if let (Place::Pair { .. }, Some(from)) = (&order.place, from) {
            tx.state.begun.count(from, order.new_pairs_per_hour)?;
        }
    }
    let head = tx.state.heads.find(tx.db, conv, || new_kind(order))?;
    if head.closed {
        return Err(StoreError::NotFound("conversation").into());
    }

    let sent = order.cid.as_ref().map(|cid| Sent::new(head.id, from, cid));
    if let Some(sent) = &sent {
        let window = tx.state.options.dedupe_window_ms;
        let is_recent = |row, ts| tx.state.age.of(row, ts) < window;
        if let Some(first) = tx.state.cids.find(tx.db, conv, sent, is_recent)? {
            return Ok(first);
        }
    }
    if order.only_repeat {
        return Err(NOT_BEFORE.into());
    }
    let is_member = || from.is_some_and(|uid| is_in(members.as_ref(), uid));
    if order.members_only && !is_member() {
        return Err(StoreError::Forbidden("only members may write to this team; ask to be added").into());
    }

    let had_all = match &order.device {
        Some(device) if sees(order, is_member) => {
            let at = head.at();
            had_all(tx, at, from, device)?
        }
        _ => None,
    };
    let head = tx.state.heads.edit(conv);
    let (own, member_sent) = match &order.place {
        Place::Pair { to, .. } => (
            Some(count_own(head, usize::from(from > Some(to)), order.counts)),
            None,
        ),
        Place::Notices(owner) => (
            Some(count_own(head, 0, order.counts && from == Some(owner))),
            None,
        ),
        Place::Team(_) if order.counts && is_member() => (None, count_member(tx.db, head.id, from)?),
        Place::Team(_) => (None, None),
    };
    if order.counts
        && let Some((side, reader)) = reader(order)
    {
        unread::change(tx.state, conv, side, reader, 1);
    }
    let draft = Draft {
        kind: order.kind,
        counts: order.counts,
        from,
        cid: order.cid.as_ref(),
        own,
        member_sent,
        data: order.data.get(),
    };
    let written = log::write(tx, conv, &draft)?;
    if let Some(sent) = sent {
        tx.state.cids.remember(sent.key, written.row);
    }
    if let Some((device, conv_id)) = had_all {
        tx.state
            .devices
            .advance(tx.state.age.measured(), device, conv_id, written.seq.0);
    }
    let push = match order.push {
        Some(push) => jobs::make(tx, &written, order, members.as_ref(), push)?,
        None => None,
    };
    Ok(written.appended(members, push))
}

/// Returns whether the sender sees the message.
fn sees(order: &Append, is_member: impl FnOnce() -> bool) -> bool {
    match &order.place {
        Place::Pair { .. } => true,
        Place::Notices(owner) => order.from.as_ref() == Some(owner),
        Place::Team(_) => is_member(),
    }
}

/// Returns the user for whom a message to a pair or to notices becomes unread, and the user's side. For teams
/// the number of unread messages is computed when it is read.
fn reader(order: &Append) -> Option<(usize, &Uid)> {
    let from = order.from.as_ref();
    match &order.place {
        Place::Pair { to, .. } => Some((usize::from(Some(to) > from), to)),
        Place::Notices(owner) => Some((0, owner)),
        Place::Team(_) => None,
    }
    .filter(|(_, reader)| from != Some(*reader))
}

/// Returns the sender's device and the conversation, if the device is known and has everything before the
/// message.
fn had_all(
    tx: &mut Tx<'_>,
    at: At,
    from: Option<&Uid>,
    device: &DeviceId,
) -> rusqlite::Result<Option<(Known, i64)>> {
    let Some(uid) = from.cloned() else {
        return Ok(None);
    };
    let device = device.clone();
    let floor = |uid: &Uid| -> rusqlite::Result<u64> {
        tx.db.prepare_cached(
            "SELECT max(p.floor, c.gone)
             FROM participants p JOIN conversations c ON c.id = p.conv_id WHERE p.uid = ?1 AND p.conv_id = ?2",
        )?
        .query_row(params![uid.as_str(), at.conv_id], |row| row.get(0))
    };
    let device = Device { uid, device };
    let Some(known) = tx.state.devices.use_of(tx.db, tx.state.age.measured(), &device)? else {
        return Ok(None);
    };
    let cursor = tx.state.devices.cursor(tx.db, known, at, || floor(&device.uid))?;
    Ok((cursor == at.head).then_some((known, at.conv_id)))
}

/// Returns the conversation, and the members if it is a team's.
fn find_place(tx: &mut Tx<'_>, order: &Append) -> Result<(ConvId, Option<Members>), Failure> {
    match &order.place {
        Place::Pair { class, to } => {
            let from = order.from.as_ref();
            let from = from.ok_or(StoreError::Forbidden(
                "a message between two users needs its sender",
            ))?;
            Ok((ConvId::pair(*class, from, to), None))
        }
        Place::Notices(owner) => Ok((ConvId::notices(owner), None)),
        Place::Team(team) => {
            let team = tx
                .state
                .teams
                .find(tx.db, team)?
                .ok_or(StoreError::NotFound("team"))?;
            Ok((team.conv, Some(team.members)))
        }
    }
}

fn new_kind(order: &Append) -> ConvKind {
    match (&order.place, &order.from) {
        (Place::Pair { class, to }, Some(from)) if from <= to => {
            ConvKind::Pair(*class, from.clone(), to.clone())
        }
        (Place::Pair { class, to }, Some(from)) => ConvKind::Pair(*class, to.clone(), from.clone()),
        (Place::Pair { to, .. }, None) => ConvKind::Notices(to.clone()),
        (Place::Notices(owner), _) => ConvKind::Notices(owner.clone()),
        (Place::Team(team), _) => ConvKind::Team(team.clone()),
    }
}

/// Returns whether `uid` is one of the members.
pub(super) fn is_in(members: Option<&Members>, uid: &Uid) -> bool {
    members.is_some_and(|members| members.binary_search(uid).is_ok())
}

/// Returns the running value of messages that count as unread and were sent by one side of a pair, or by the
/// owner of the notices.
fn count_own(head: &mut Head, side: usize, counts: bool) -> u64 {
    head.sent[side] += u64::from(counts);
    head.sent[side]
}

/// Returns the same for a member of a team; `None` if the sender is not a member.
fn count_member(db: &Connection, conv_id: i64, from: Option<&Uid>) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached(
        "UPDATE participants SET sent = sent + 1 WHERE uid = ?1 AND conv_id = ?2 RETURNING sent",
    )?
    .query_row(params![from.map(Uid::as_str), conv_id], |row| row.get(0))
    .optional()
}
