//! Changes to teams: stored in order with the messages, and told to the members.
//!
//! Each member that enters or leaves is a message and several rows, so a change of many members is made in
//! parts of [`PART`] members; between the parts the store writes what others send. Invariants: the changes of
//! one team are made one after the other; a change that was begun is made to its end, even if its caller has
//! gone; each member that enters or leaves is told of in the transaction of its part, so that a change that
//! was interrupted is completed by the same call, and tells of nobody twice.

use std::sync::Arc;

use super::core::Core;
use crate::appends::{Caller, Permit, UnderWay};
use crate::delivery::CommittedChange;
use crate::fair::Full;
use crate::ids::{TeamId, Uid};
use crate::reject::Reject;
use crate::store::{Done, Members, StoreError, Team, TeamChange, TeamChanged, called_back};

/// Members that enter or leave in one transaction: some ten milliseconds. Few in our own tests.
const PART: usize = if cfg!(any(test, fuzzing)) { 8 } else { 500 };

/// Changes a team; returns after the members who are connected were told.
pub(crate) async fn change_team(
    core: &Arc<Core>,
    caller: &Caller,
    team: TeamId,
    change: TeamChange,
) -> Result<Team, Reject> {
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
    let begun = core.changing.begin(&team).await;
    let (core, caller) = (core.clone(), caller.clone());
    // A task of its own: whoever called may stop waiting.
    let made = tokio::spawn(async move {
        let _begun = begun;
        let mut done = None;
        for part in parts(&core, &team, change).await? {
            let (turn, under_way) = caller.begin();
            let permit = match done {
                None => core.room(&caller, turn, 1).await?,
                // What was begun waits as long as it takes.
                Some(_) => {
                    let permit = core.appends.take(caller.account(), turn, 1);
                    permit.await.map_err(|Full| stopped())?
                }
            };
            done = Some(make(&core, &team, part, (permit, under_way)).await?);
        }
        done.ok_or_else(|| Reject::internal("The team was not changed."))
    });
    let broken = || Reject::internal("The change of the team was not completed; repeat the call.");
    made.await.unwrap_or_else(|_| Err(broken()))
}

/// A part of a change.
struct Part {
    change: TeamChange,
    /// The team is being deleted: each member is told only of itself.
    is_end: bool,
}

impl From<TeamChange> for Part {
    fn from(change: TeamChange) -> Self {
        Self {
            change,
            is_end: false,
        }
    }
}

/// What the store is to do, in order: the change itself if it is small enough.
async fn parts(core: &Core, team: &TeamId, change: TeamChange) -> Result<Vec<Part>, Reject> {
    let may_be_large = match &change {
        TeamChange::Put { .. } | TeamChange::Delete => true,
        TeamChange::Add(uids) | TeamChange::Remove(uids) => uids.len() > PART,
    };
    if !may_be_large {
        return Ok(vec![change.into()]);
    }
    let found = core.store.team(team.clone()).await;
    // The store creates the team, or reports that it does not exist.
    let Some(before) = found.map_err(|error| core.trouble(error))? else {
        return Ok(vec![change.into()]);
    };
    let (left, entered, after) = match &change {
        TeamChange::Put { members, .. } => {
            let members = sorted(members);
            (
                without(&before.members, &members),
                without(&members, &before.members),
                members.len(),
            )
        }
        TeamChange::Add(uids) => {
            let entered = without(&sorted(uids), &before.members);
            let after = before.members.len() + entered.len();
            (Vec::new(), entered, after)
        }
        TeamChange::Remove(uids) => (sorted(uids), Vec::new(), 0),
        TeamChange::Delete => (before.members.to_vec(), Vec::new(), 0),
    };
    let most = core.config.limits.members;
    if left.len() + entered.len() <= PART {
        return Ok(vec![change.into()]);
    }
    if !entered.is_empty() && after > most {
        return Err(core.trouble(StoreError::too_many_members(most)));
    }
    let is_end = matches!(change, TeamChange::Delete);
    let mut parts = Vec::new();
    if let TeamChange::Put { name, .. } = &change
        && *name != before.name
    {
        let (name, members) = (name.clone(), before.members.to_vec());
        parts.push(Part::from(TeamChange::Put { name, members }));
    }
    parts.extend(left.chunks(PART).map(|some| Part {
        change: TeamChange::Remove(some.to_vec()),
        is_end,
    }));
    parts.extend(
        entered
            .chunks(PART)
            .map(|some| Part::from(TeamChange::Add(some.to_vec()))),
    );
    if is_end {
        parts.push(change.into());
    }
    Ok(parts)
}

fn sorted(uids: &[Uid]) -> Vec<Uid> {
    let mut uids = uids.to_vec();
    uids.sort_unstable();
    uids.dedup();
    uids
}

/// Those of `uids` that are not in `these`, which are sorted.
fn without(uids: &[Uid], these: &[Uid]) -> Vec<Uid> {
    let is_left = |uid: &&Uid| these.binary_search(uid).is_err();
    uids.iter().filter(is_left).cloned().collect()
}

fn stopped() -> Reject {
    Reject::unavailable("The message store has stopped; try again later.")
}

/// Makes a part in one transaction; returns after the members who are connected were told.
async fn make(
    core: &Arc<Core>,
    team: &TeamId,
    part: Part,
    (permit, under_way): (Permit, UnderWay),
) -> Result<Team, Reject> {
    let shared = core.clone();
    let made = called_back(|done| {
        let committed: Done<TeamChanged> = Box::new(move |result| match result {
            Ok(mut changed) => {
                if part.is_end {
                    changed.team.members = Members::default();
                }
                shared.delivery.change(CommittedChange {
                    changed,
                    answer: Box::new(move |changed| {
                        drop(under_way);
                        done(Ok(changed.team));
                    }),
                    permit,
                });
            }
            Err(error) => done(Err(shared.trouble(error))),
        });
        core.store.change_team(team.clone(), part.change, committed);
    });
    made.await.unwrap_or_else(|| Err(stopped()))
}
