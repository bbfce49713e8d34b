//! Changes teams. A change is stored in order with the messages, and the members are told.
//!
//! Each member that enters or leaves needs a message and several rows. A change of many members is therefore
//! made in parts of [`PART`] members, and between the parts the store writes the messages of others.
//!
//! Invariants: the changes of one team are made one after the other; a change that was begun is completed,
//! even if its caller has gone; the notice about each member is stored in the transaction of its part. A
//! change that was interrupted can therefore be completed by repeating the call, and no notice is sent twice.

use std::sync::Arc;

use super::record::{Account, Permit, Record};
use super::rules::Rules;
use crate::caller::{Caller, UnderWay};
use crate::fair::Full;
use crate::ids::{TeamId, Uid};
use crate::reject::Reject;
use crate::store::{Done, Members, StoreError, Team, TeamChange, TeamChanged, called_back};

/// The maximum number of members that enter or leave in one transaction, which takes about ten milliseconds.
/// It is small in our own tests.
const PART: usize = if cfg!(any(test, fuzzing)) { 8 } else { 500 };

/// Changes a team. Returns after the connected members were told.
pub(crate) async fn change_team(
    rules: &Rules,
    record: &Arc<Record>,
    caller: &Caller,
    team: TeamId,
    change: TeamChange,
) -> Result<Team, Reject> {
    rules.check_uids(match &change {
        TeamChange::Put { members, .. } | TeamChange::Add(members) | TeamChange::Remove(members) => {
            members.len()
        }
        TeamChange::Delete => 0,
    })?;
    let begun = record.changing.begin(&team).await;
    let (record, caller) = (record.clone(), caller.clone());
    // The change has a task of its own, because the caller may stop waiting.
    let made = tokio::spawn(async move {
        let _begun = begun;
        let mut done = None;
        for part in parts(&record, &team, change).await? {
            let (turn, under_way) = caller.begin();
            let permit = match done {
                None => record.take_slots(&caller, turn, 1).await?,
                // A change that was begun waits for its slot as long as necessary.
                Some(_) => {
                    let permit = record.slots.take(Account::Caller(caller.name()), turn, 1);
                    permit.await.map_err(|Full| stopped())?
                }
            };
            done = Some(make(&record, &team, part, (under_way, permit)).await?);
        }
        done.ok_or_else(|| Reject::internal("The team was not changed."))
    });
    let broken = || Reject::internal("The change of the team was not completed; repeat the call.");
    made.await.unwrap_or_else(|_| Err(broken()))
}

/// A part of a change.
struct Part {
    change: TeamChange,
    /// Whether the team is being deleted. Then each member receives only the notice about itself.
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

/// Divides a change into the parts that the store makes one after the other. A small change is one part.
async fn parts(record: &Record, team: &TeamId, change: TeamChange) -> Result<Vec<Part>, Reject> {
    let may_be_large = match &change {
        TeamChange::Put { .. } | TeamChange::Delete => true,
        TeamChange::Add(uids) | TeamChange::Remove(uids) => uids.len() > PART,
    };
    if !may_be_large {
        return Ok(vec![change.into()]);
    }
    let found = record.store.team(team.clone()).await;
    // The store creates the team, or reports that it does not exist.
    let Some(before) = found.map_err(|error| record.trouble(error))? else {
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
    let most = record.config.limits.members;
    if left.len() + entered.len() <= PART {
        return Ok(vec![change.into()]);
    }
    if !entered.is_empty() && after > most {
        return Err(record.trouble(StoreError::too_many_members(most)));
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

/// Returns those of `uids` that are not in `these`, which must be sorted.
fn without(uids: &[Uid], these: &[Uid]) -> Vec<Uid> {
    let is_left = |uid: &&Uid| these.binary_search(uid).is_err();
    uids.iter().filter(is_left).cloned().collect()
}

fn stopped() -> Reject {
    Reject::unavailable("The message store has stopped; try again later.")
}

/// Makes a part in one transaction. Returns after the connected members were told.
async fn make(
    record: &Arc<Record>,
    team: &TeamId,
    part: Part,
    under_way: (UnderWay, Permit),
) -> Result<Team, Reject> {
    let shared = record.clone();
    let made = called_back(|done| {
        let committed: Done<TeamChanged> = Box::new(move |result| match result {
            Ok(mut changed) => {
                if part.is_end {
                    changed.team.members = Members::default();
                }
                let answer = Box::new(move |team| {
                    drop(under_way);
                    done(Ok(team));
                });
                shared.delivery.change(changed, answer);
            }
            Err(error) => done(Err(shared.trouble(error))),
        });
        record.store.change_team(team.clone(), part.change, committed);
    });
    made.await.unwrap_or_else(|| Err(stopped()))
}
