//! What is not stored goes straight to whoever is connected.

use std::sync::Arc;

use super::core::Core;
use super::plan::Plan;
use crate::delivery::Turn;
use crate::frame::{Envelope, Frame};
use crate::ids::Uid;
use crate::order::{Sent, To, UserResult};
use crate::reject::Reject;
use crate::time::UnixMillis;

fn unstored(plan: &Plan, ts: UnixMillis) -> Arc<Frame> {
    let envelope = Envelope::unstored(plan.kind, &plan.data, plan.from.as_ref(), ts);
    Arc::new(Frame::push(&envelope))
}

/// To users or everyone.
pub(super) fn pass(core: &Core, plan: &Plan, ts: UnixMillis) -> Sent {
    let frame = unstored(plan, ts);
    let origin = plan.origin.as_ref();
    let uids = match &plan.to {
        To::User(uid) => std::slice::from_ref(uid),
        To::Users(uids) => uids,
        To::Everyone | To::Team(_) => {
            let online = core.delivery.fanout().everyone(origin, &frame);
            return Sent::Everyone { online };
        }
    };
    let results: Vec<_> = uids
        .iter()
        .map(|uid| UserResult {
            uid: uid.clone(),
            delivered: core.delivery.fanout().user(uid, origin, &frame),
            stored: None,
        })
        .collect();
    if let Some(from) = plan
        .from
        .as_ref()
        .filter(|from| plan.follow && !uids.contains(from))
    {
        core.delivery.fanout().user(from, origin, &frame);
    }
    users(results)
}

/// The results with their counts.
pub(super) fn users(results: Vec<UserResult>) -> Sent {
    let online = results.iter().filter(|result| result.delivered).count();
    Sent::Users {
        offline: results.len() - online,
        online,
        results,
    }
}

/// To a team, or as [`pass`].
pub(super) async fn pass_to_team(core: &Core, plan: &Plan, ts: UnixMillis) -> Result<Sent, Reject> {
    let To::Team(team) = &plan.to else {
        return Ok(pass(core, plan, ts));
    };
    let team = core
        .store
        .team(team.clone())
        .await
        .map_err(|error| core.trouble(error))?;
    let members = team
        .ok_or_else(|| Reject::not_found("There is no such team."))?
        .members;
    let is_member = |uid: &Uid| members.binary_search(uid).is_ok();
    if plan.origin.is_some() && !plan.from.as_ref().is_some_and(is_member) {
        return Err(Reject::forbidden("Only members send to a team."));
    }
    let frame = unstored(plan, ts);
    let origin = plan.origin.as_ref();
    let mut turn = Turn::default();
    let (online, offline) = core
        .delivery
        .fanout()
        .members(&members, origin, &frame, &mut turn)
        .await;
    Ok(Sent::Team {
        stored: None,
        online,
        offline,
    })
}
