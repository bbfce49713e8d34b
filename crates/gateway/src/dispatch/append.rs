//! Stored messages: to the store, and from there to delivery.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::core::Core;
use super::plan::Item;
use crate::appends::{Caller, Permit};
use crate::clock;
use crate::delivery::{Answer, Committed, Outcome};
use crate::fair::Turn;
use crate::reject::Reject;
use crate::store::{Append, Appended, Done, Place, StoreError};

/// How long a call waits for room among the appends in flight.
const ROOM_WAIT: Duration = Duration::from_secs(2);
/// Most messages of one call that are with the store at once.
const CHUNK: usize = 1_024;

/// A message for the store, and what happens when it has it: delivery, push, the answer.
pub(super) fn entry(
    core: &Arc<Core>,
    item: Item,
    answer: Answer,
    permit: Permit,
) -> (Append, Done<Appended>) {
    let Item {
        append,
        origin,
        follow,
    } = item;
    let to = match &append.place {
        Place::Pair { to, .. } | Place::Notices(to) => Some(to.clone()),
        Place::Team(_) => None,
    };
    let (kind, data) = (append.kind, append.data.clone());
    let (from, cid) = (append.from.clone(), append.cid.clone());
    let push_delay_ms = append.push.map_or(0, |push| push.delay_ms);
    let core = core.clone();
    let done = move |result: Result<Appended, StoreError>| match result {
        Ok(appended) => {
            core.delivery.message(Committed {
                appended,
                kind,
                data,
                from,
                cid,
                to,
                origin,
                follow,
                push_delay_ms,
                at: clock::now(),
                answer,
                permit,
            });
        }
        Err(error) => answer(Err(core.trouble(error))),
    };
    (append, Box::new(done))
}

/// Appends a call's messages in order, so many at once; the outcomes are in the same order.
pub(super) async fn append_all(
    core: &Arc<Core>,
    caller: &Caller,
    mut items: impl Iterator<Item = Item>,
) -> Vec<Result<Outcome, Reject>> {
    let chunk = CHUNK.min(core.appends.largest());
    let mut outcomes = Vec::new();
    loop {
        let batch: Vec<Item> = items.by_ref().take(chunk).collect();
        if batch.is_empty() {
            return outcomes;
        }
        outcomes.extend(append_chunk(core, caller, batch).await);
    }
}

/// Appends in one batch and waits for all.
async fn append_chunk(core: &Arc<Core>, caller: &Caller, items: Vec<Item>) -> Vec<Result<Outcome, Reject>> {
    let unanswered = || {
        Err(Reject::unavailable(
            "The message store has stopped; try again later.",
        ))
    };
    let count = items.len();
    let mut outcomes: Vec<_> = (0..count).map(|_| unanswered()).collect();
    let (turns, under_way): (Vec<_>, Vec<_>) = items.iter().map(|_| caller.begin()).unzip();
    let turn = turns.first().copied().unwrap_or(Turn::First);
    let mut permit = match core.room(caller, turn, count).await {
        Ok(permit) => permit,
        Err(reject) => return (0..count).map(|_| Err(reject.clone())).collect(),
    };
    let (sender, mut receiver) = mpsc::channel(count.max(1));
    let batch = items.into_iter().zip(under_way).enumerate();
    let batch = batch.filter_map(|(index, (item, under_way))| {
        let sender = sender.clone();
        let answer: Answer = Box::new(move |outcome| {
            drop(under_way);
            // There is room for all; nobody listens when the call was given up.
            let _ = sender.try_send((index, outcome));
        });
        Some(entry(core, item, answer, permit.split_one()?))
    });
    let batch = batch.collect();
    drop(sender);
    core.store.append(batch);
    while let Some((index, outcome)) = receiver.recv().await {
        outcomes[index] = outcome;
    }
    outcomes
}

impl Core {
    /// Slots for `count` appends of a caller.
    pub(super) async fn room(&self, caller: &Caller, turn: Turn, count: usize) -> Result<Permit, Reject> {
        let slots = self.appends.take(caller.account(), turn, count);
        match tokio::time::timeout(ROOM_WAIT, slots).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                self.metrics.limited("appends_in_flight");
                Err(Reject::unavailable(
                    "Too many messages wait for the store; try again later.",
                ))
            }
        }
    }
}
