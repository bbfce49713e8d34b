//! Carries out orders of the API to send messages.

use std::sync::Arc;

use super::append::append_all;
use super::core::Core;
use super::pass::{pass, pass_to_team};
use super::rules::Allowed;
use crate::appends::Caller;
use crate::clock;
use crate::delivery::Outcome;
use crate::order::{SendOrder, Sent, To, UserResult};
use crate::reject::Reject;

/// The maximum number of users that the messages of one batch name in total. It limits the memory of a call.
const MOST_NAMED: usize = 100_000;

/// Sends the messages of a call in order, and returns their results in the same order.
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
        let allowed = order.and_then(|order| core.check(order)).and_then(|allowed| {
            named += allowed.uids().len().max(1);
            if named > MOST_NAMED {
                return Err(Reject::too_large(format!(
                    "The messages of a batch may name at most {MOST_NAMED} users in total; send the rest in another batch."
                )));
            }
            Ok(allowed)
        });
        results.push(match allowed {
            Ok(allowed) if allowed.is_stored() => {
                stored.push((index, allowed));
                // This is replaced by the outcome below.
                Err(Reject::internal("The message was not appended."))
            }
            Ok(allowed) => passed(core, &allowed).await,
            Err(reject) => Err(reject),
        });
    }
    let messages = stored.iter().flat_map(|(_, allowed)| allowed.messages());
    let mut outcomes = append_all(core, caller, messages).await.into_iter();
    for (index, allowed) in stored {
        results[index] = sent(allowed.order.to, &mut outcomes);
    }
    results
}

/// Sends a message that is not stored.
async fn passed(core: &Core, allowed: &Allowed) -> Result<Sent, Reject> {
    let ts = clock::unix_millis();
    if let To::Team(_) = allowed.order.to {
        let (online, offline) = pass_to_team(core, allowed, ts).await?;
        return Ok(Sent::Team {
            stored: None,
            online,
            offline,
        });
    }
    let mut results = Vec::with_capacity(allowed.uids().len());
    let online = pass(core, allowed, ts, |uid, delivered| {
        results.push(UserResult {
            uid: uid.clone(),
            delivered,
            stored: None,
        });
    });
    Ok(match allowed.order.to {
        To::Everyone => Sent::Everyone { online },
        _ => users(results),
    })
}

/// Counts the results.
fn users(results: Vec<UserResult>) -> Sent {
    let online = results.iter().filter(|result| result.delivered).count();
    Sent::Users {
        offline: results.len() - online,
        online,
        results,
    }
}

/// Makes the result of an order from the next outcomes: one for each user, or one for a team.
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
    // All outcomes are taken even if one has failed, so that the next order takes its own.
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
