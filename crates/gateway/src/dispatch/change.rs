//! Changes to teams: stored in order with the messages, and told to the members.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::appends::Caller;
use crate::core::Core;
use crate::delivery::CommittedChange;
use crate::ids::TeamId;
use crate::reject::Reject;
use crate::store::{TeamChange, TeamChanged};

/// Changes a team; returns after the members who are connected were told.
pub(crate) async fn change_team(
    core: &Arc<Core>,
    caller: &Caller,
    team: TeamId,
    change: TeamChange,
) -> Result<TeamChanged, Reject> {
    let limits = &core.config.limits;
    let named = match &change {
        TeamChange::Put { members, .. } | TeamChange::Add(members) | TeamChange::Remove(members) => {
            members.len()
        }
        TeamChange::Delete => 0,
    };
    if named > limits.uids_per_call {
        core.metrics.limited("uids_per_call");
        return Err(Reject::too_large(format!(
            "A call may name {} users, this one names {named}.",
            limits.uids_per_call
        )));
    }
    let (turn, under_way) = caller.begin();
    let permit = core.room(caller, turn, 1).await?;
    let (sender, receiver) = oneshot::channel();
    let shared = core.clone();
    core.store.change_team(
        team,
        change,
        Box::new(move |result| match result {
            Ok(changed) => {
                shared.delivery.change(CommittedChange {
                    changed,
                    answer: Box::new(move |changed| {
                        drop(under_way);
                        // Nobody listens when the call was given up.
                        drop(sender.send(Ok(changed)));
                    }),
                    permit,
                });
            }
            Err(error) => drop(sender.send(Err(shared.trouble(error)))),
        }),
    );
    receiver.await.unwrap_or_else(|_| {
        Err(Reject::unavailable(
            "The message store has stopped; try again later.",
        ))
    })
}
