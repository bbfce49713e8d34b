//! Carries out orders of the API to send messages.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::pass::{pass, pass_elsewhere, pass_to_team};
use super::record::Record;
use super::rules::{Allowed, Rules};
use crate::caller::Caller;
use crate::clock;
use crate::delivery::{OnDelivered, Outcome};
use crate::fair::Turn;
use crate::order::{SendOrder, Sent, To, UserResult};
use crate::reject::Reject;
use crate::store::Append;

/// The maximum number of users that the messages of one batch name in total. It limits the memory of a call.
const MOST_NAMED: usize = 100_000;
/// The maximum number of messages of one API call that the store is given at once.
const MOST_AT_ONCE: usize = 1_024;

/// Sends the messages of a call in order, and returns their results in the same order.
pub(crate) async fn orders(
    rules: &Rules,
    record: &Arc<Record>,
    caller: &Caller,
    orders: Vec<Result<SendOrder, Reject>>,
) -> Vec<Result<Sent, Reject>> {
    let mut results = Vec::with_capacity(orders.len());
    let mut stored = Vec::new();
    let mut named = 0;
    for order in orders {
        let index = results.len();
        let allowed = order.and_then(|order| rules.check(order)).and_then(|allowed| {
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
            Ok(allowed) => passed(record, &allowed).await,
            Err(reject) => Err(reject),
        });
    }
    let messages = stored.iter().flat_map(|(_, allowed)| allowed.messages());
    let mut outcomes = append_all(record, caller, messages).await.into_iter();
    for (index, allowed) in stored {
        results[index] = sent(allowed.order.to, &mut outcomes);
    }
    results
}

/// Sends a message that is not stored.
async fn passed(record: &Record, allowed: &Allowed) -> Result<Sent, Reject> {
    let ts = clock::unix_millis();
    if let To::Team(_) = allowed.order.to {
        let (online, offline) = pass_to_team(record, allowed, ts).await?;
        return Ok(Sent::Team {
            stored: None,
            online,
            offline,
        });
    }
    let mut results = Vec::with_capacity(allowed.uids().len());
    let elsewhere = pass_elsewhere(record, allowed, ts);
    let mut online = pass(record, allowed, ts, |uid, delivered| {
        results.push(UserResult {
            uid: uid.clone(),
            delivered,
            stored: None,
        });
    });
    if let Some(elsewhere) = elsewhere {
        let there = elsewhere.await;
        online += there.users;
        for (number, result) in results.iter_mut().enumerate() {
            result.delivered |= there.reached.has(number);
        }
    }
    Ok(match allowed.order.to {
        To::Everyone => Sent::Everyone { online },
        _ => users(results),
    })
}

/// Appends the messages of a call in order, and returns their outcomes in the same order.
async fn append_all(
    record: &Arc<Record>,
    caller: &Caller,
    mut messages: impl Iterator<Item = Arc<Append>>,
) -> Vec<Result<Outcome, Reject>> {
    let most = MOST_AT_ONCE.min(record.slots.largest());
    let mut outcomes = Vec::new();
    loop {
        let some: Vec<_> = messages.by_ref().take(most).collect();
        if some.is_empty() {
            return outcomes;
        }
        outcomes.extend(append_some(record, caller, some).await);
    }
}

/// Appends these messages in one transaction if possible, and waits for all outcomes.
async fn append_some(
    record: &Arc<Record>,
    caller: &Caller,
    messages: Vec<Arc<Append>>,
) -> Vec<Result<Outcome, Reject>> {
    let unanswered = || {
        Err(Reject::unavailable(
            "The message store has stopped; try again later.",
        ))
    };
    let count = messages.len();
    let mut outcomes: Vec<_> = (0..count).map(|_| unanswered()).collect();
    let (turns, under_way): (Vec<_>, Vec<_>) = messages.iter().map(|_| caller.begin()).unzip();
    let turn = turns.first().copied().unwrap_or(Turn::First);
    let mut permit = match record.take_slots(caller, turn, count).await {
        Ok(permit) => permit,
        Err(reject) => return (0..count).map(|_| Err(reject.clone())).collect(),
    };
    let (sender, mut receiver) = mpsc::channel(count.max(1));
    let batch = messages.into_iter().zip(under_way).enumerate();
    let batch = batch.filter_map(|(index, (message, under_way))| {
        let sender = sender.clone();
        let slot = permit.split_one()?;
        let answer: OnDelivered = Box::new(move |outcome| {
            drop((under_way, slot));
            // The channel has room for all. If the call was cancelled, there is no receiver.
            let _ = sender.try_send((index, outcome));
        });
        Some(record.delivered(message, None, answer))
    });
    let batch: Vec<_> = batch.collect();
    drop(sender);
    record.store.append(&mut batch.into_iter());
    while let Some((index, outcome)) = receiver.recv().await {
        outcomes[index] = outcome;
    }
    outcomes
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
