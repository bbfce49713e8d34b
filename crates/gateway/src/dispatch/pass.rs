//! Sends messages that are not stored to the recipients who are connected.

use std::sync::Arc;
use std::time::Duration;

use mynah_cluster::Reached;

use super::record::Record;
use super::rules::Allowed;
use crate::delivery::{There, Unstored, Whom};
use crate::frame::{Envelope, Frame};
use crate::ids::Uid;
use crate::order::To;
use crate::reject::Reject;
use crate::time::UnixMillis;

/// How long the other nodes may take to say whom they have reached.
const ELSEWHERE_WITHIN: Duration = Duration::from_secs(3);
/// The maximum number of users whom a message to other nodes names.
const NAMED_AT_ONCE: usize = 1_000;

fn frame(allowed: &Allowed, ts: UnixMillis) -> Arc<Frame> {
    let order = &allowed.order;
    let envelope = Envelope::unstored(order.kind, &order.data, order.from.as_ref(), ts);
    Arc::new(Frame::push(&envelope))
}

fn unstored(allowed: &Allowed, ts: UnixMillis) -> Unstored {
    let order = &allowed.order;
    Unstored {
        kind: order.kind,
        data: order.data.clone(),
        from: order.from.clone(),
        ts,
    }
}

/// The sender, if its other devices must receive the message although it is not a recipient.
fn follower(allowed: &Allowed) -> Option<&Uid> {
    let follower = allowed.order.from.as_ref().filter(|_| allowed.follows());
    follower.filter(|from| !allowed.uids().contains(from))
}

/// Sends to users or everyone on this node. Returns how many users were reached, and calls `each` for each
/// named user with whether the user was reached.
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
    if let Some(from) = follower(allowed) {
        fanout.user(from, except, &frame);
    }
    online
}

/// Sends to users or everyone on the other nodes. Returns whom they have reached, later; `None` if there is
/// one node.
pub(super) fn pass_elsewhere(
    record: &Record,
    allowed: &Allowed,
    ts: UnixMillis,
) -> Option<impl Future<Output = There> + Send + use<>> {
    if !record.delivery.is_shared() {
        return None;
    }
    let mut sent = Vec::new();
    if let To::Everyone = allowed.order.to {
        sent.push(
            record
                .delivery
                .elsewhere(unstored(allowed, ts), Whom::Everyone, None)?,
        );
    }
    let mut follower = follower(allowed).cloned();
    for uids in allowed.uids().chunks(NAMED_AT_ONCE) {
        let whom = Whom::Users(Arc::new(uids.to_vec()));
        sent.push(
            record
                .delivery
                .elsewhere(unstored(allowed, ts), whom, follower.take())?,
        );
    }
    Some(async move {
        let mut all = There::default();
        for (number, sent) in sent.into_iter().enumerate() {
            let there = answered(sent).await;
            all.users += there.users;
            all.reached.add_at(number * NAMED_AT_ONCE, &there.reached);
        }
        all
    })
}

async fn answered(sent: tokio::sync::oneshot::Receiver<There>) -> There {
    let there = tokio::time::timeout(ELSEWHERE_WITHIN, sent).await;
    there.ok().and_then(Result::ok).unwrap_or_default()
}

/// Sends to a team on all nodes. Returns how many members were reached and how many were not.
pub(super) async fn pass_to_team(
    record: &Record,
    allowed: &Allowed,
    ts: UnixMillis,
) -> Result<(usize, usize), Reject> {
    let no_team = || Reject::not_found("There is no such team.");
    let To::Team(id) = &allowed.order.to else {
        return Err(no_team());
    };
    let found = record.store.team(id.clone()).await;
    let team = found.map_err(|error| record.trouble(error))?;
    let members = team.ok_or_else(no_team)?.members;
    let (from, except) = (allowed.order.from.as_ref(), allowed.except());
    let is_member = |uid: &Uid| members.binary_search(uid).is_ok();
    if except.is_some() && !from.is_some_and(is_member) {
        return Err(Reject::forbidden("Only members may send to a team."));
    }
    let delivery = &record.delivery;
    let whom = Whom::Team(id.clone(), members.clone());
    let sent = delivery.elsewhere(unstored(allowed, ts), whom, None);
    let all = members.len();
    let mut reached: Reached = delivery
        .fanout()
        .members(members, except, frame(allowed, ts))
        .await;
    if let Some(sent) = sent {
        reached.add(&answered(sent).await.reached);
    }
    let online = reached.count().min(all);
    Ok((online, all - online))
}
