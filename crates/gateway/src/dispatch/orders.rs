//! The orders of the API: one or many, and what became of each.

use std::sync::Arc;

use super::append::append_all;
use super::core::Core;
use super::pass::{pass_to_team, users};
use crate::appends::Caller;
use crate::clock;
use crate::delivery::Outcome;
use crate::order::{SendOrder, Sent, To, UserResult};
use crate::reject::Reject;

/// Users that the messages of one batch may name in all: what a call holds in memory is bounded by it.
const MOST_NAMED: usize = 100_000;

/// Carries out the API's orders, in order; the results are in the same order.
pub(crate) async fn orders(
    core: &Arc<Core>,
    caller: &Caller,
    orders: Vec<Result<SendOrder, Reject>>,
) -> Vec<Result<Sent, Reject>> {
    let mut results = Vec::with_capacity(orders.len());
    let mut stored = Vec::new();
    let mut named = 0;
    for order in orders {
        let index = results.len();
        let plan = order.and_then(|order| core.plan(order)).and_then(|plan| {
            named += plan.named();
            if named > MOST_NAMED {
                return Err(Reject::too_large(format!(
                    "The messages of a batch may name {MOST_NAMED} users in all; send the rest in another."
                )));
            }
            Ok(plan)
        });
        results.push(match plan {
            Ok(plan) if plan.conversation.is_some() => {
                stored.push((index, plan));
                // Stands until all of them are appended.
                Err(Reject::internal("The message was not appended."))
            }
            Ok(plan) => pass_to_team(core, &plan, clock::unix_millis()).await,
            Err(reject) => Err(reject),
        });
    }
    let items = stored.iter().flat_map(|(_, plan)| plan.items());
    let mut outcomes = append_all(core, caller, items).await.into_iter();
    for (index, plan) in stored {
        results[index] = sent(plan.to, &mut outcomes);
    }
    results
}

/// Takes as many outcomes as `to` has recipients.
fn sent(to: To, outcomes: &mut impl Iterator<Item = Result<Outcome, Reject>>) -> Result<Sent, Reject> {
    let mut next = || {
        outcomes
            .next()
            .unwrap_or_else(|| Err(Reject::internal("The message was not appended.")))
    };
    let uids = match to {
        To::User(uid) => vec![uid],
        To::Users(uids) => uids,
        To::Team(_) | To::Everyone => {
            return next().map(|outcome| Sent::Team {
                stored: Some(outcome.stored),
                online: outcome.online,
                offline: outcome.offline,
            });
        }
    };
    // All are taken before one that failed decides, so that the next order finds its own.
    let outcomes: Vec<_> = uids.iter().map(|_| next()).collect();
    let results = uids.into_iter().zip(outcomes).map(|(uid, outcome)| {
        outcome.map(|outcome| UserResult {
            uid,
            delivered: outcome.online > 0,
            stored: Some(outcome.stored),
        })
    });
    Ok(users(results.collect::<Result<_, _>>()?))
}
