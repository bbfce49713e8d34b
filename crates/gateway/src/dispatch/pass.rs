//! Sends messages that are not stored to the recipients who are connected.

use std::sync::Arc;

use super::record::Record;
use super::rules::Allowed;
use crate::frame::{Envelope, Frame};
use crate::ids::Uid;
use crate::order::To;
use crate::reject::Reject;
use crate::time::UnixMillis;

fn frame(allowed: &Allowed, ts: UnixMillis) -> Arc<Frame> {
    let order = &allowed.order;
    let envelope = Envelope::unstored(order.kind, &order.data, order.from.as_ref(), ts);
    Arc::new(Frame::push(&envelope))
}

/// Sends to users or everyone. Returns how many users were reached, and calls `each` for each named user with
/// whether the user was reached.
pub(super) fn pass(
    record: &Record,
    allowed: &Allowed,
    ts: UnixMillis,
    mut each: impl FnMut(&Uid, bool),
) -> usize {
    let frame = frame(allowed, ts);
    let (fanout, except, uids) = (record.delivery.fanout(), allowed.except(), allowed.uids());
    if let To::Everyone = allowed.order.to {
        return fanout.everyone(except, &frame);
    }
    let mut online = 0;
    for uid in uids {
        let is_reached = fanout.user(uid, except, &frame);
        online += usize::from(is_reached);
        each(uid, is_reached);
    }
    let follower = allowed.order.from.as_ref().filter(|_| allowed.follows());
    if let Some(from) = follower.filter(|from| !uids.contains(from)) {
        fanout.user(from, except, &frame);
    }
    online
}

/// Sends to a team. Returns how many members were reached and how many were not.
pub(super) async fn pass_to_team(
    record: &Record,
    allowed: &Allowed,
    ts: UnixMillis,
) -> Result<(usize, usize), Reject> {
    let no_team = || Reject::not_found("There is no such team.");
    let To::Team(team) = &allowed.order.to else {
        return Err(no_team());
    };
    let found = record.store.team(team.clone()).await;
    let team = found.map_err(|error| record.trouble(error))?;
    let members = team.ok_or_else(no_team)?.members;
    let (from, except) = (allowed.order.from.as_ref(), allowed.except());
    let is_member = |uid: &Uid| members.binary_search(uid).is_ok();
    if except.is_some() && !from.is_some_and(is_member) {
        return Err(Reject::forbidden("Only members may send to a team."));
    }
    let fanout = record.delivery.fanout();
    Ok(fanout.members(members, except, frame(allowed, ts)).await)
}
