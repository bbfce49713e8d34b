//! Stored messages: to the store, and from there to delivery.
//!
//! What clients have with the store at one time is bounded, for each connection and in all. Beyond it
//! connections are not read.

use std::sync::Arc;
use std::time::Duration;

use mynah_socketio::BoxFuture;
use tokio::sync::mpsc;

use super::core::Core;
use crate::appends::{Account, Caller, Permit};
use crate::clock;
use crate::delivery::{Answer, Committed, Outcome};
use crate::fair::Turn;
use crate::ids::Uid;
use crate::order::Origin;
use crate::registry::Connection;
use crate::reject::Reject;
use crate::session::Link;
use crate::store::{Append, Appended, Done, StoreError};

/// How long a call waits for room among the appends in flight.
const ROOM_WAIT: Duration = Duration::from_secs(2);
/// Most messages of one call that are with the store at once.
const MOST_AT_ONCE: usize = 1_024;

/// One of a connection's calls of the store; ends when dropped, whatever happened.
pub(super) struct Pending(Arc<Connection<Link>>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.link.append_ended();
    }
}

/// Calls the store by `call`, in the order of the connection's frames and without waiting for the outcome; with too many under way the
/// returned future is to be awaited before the next frame is read.
pub(super) fn with_store(
    core: &Arc<Core>,
    connection: Arc<Connection<Link>>,
    uid: &Uid,
    call: impl FnOnce(&Arc<Core>, Pending, Permit) + Send + 'static,
) -> Option<BoxFuture> {
    let limit = core.config.limits.appends_in_flight_per_connection;
    let in_flight = connection.link.append_begins();
    let pending = Pending(connection.clone());
    let turn = Turn::of(in_flight);
    if let Some(permit) = core.appends.try_take(turn) {
        call(core, pending, permit);
        let is_full = in_flight >= limit;
        return is_full.then(|| -> BoxFuture { Box::pin(async move { connection.link.room(limit).await }) });
    }
    let (core, account) = (core.clone(), Account::User(uid.clone()));
    Some(Box::pin(async move {
        // The number of those that wait is not limited: a connection has at most one.
        if let Ok(permit) = core.appends.take(account, turn, 1).await {
            call(&core, pending, permit);
            connection.link.room(limit).await;
        }
    }))
}

/// A message for the store, and what happens when it has it: delivery, push, the answer.
pub(super) fn delivered(
    core: &Arc<Core>,
    message: Arc<Append>,
    origin: Option<Origin>,
    answer: Answer,
    permit: Permit,
) -> (Arc<Append>, Done<Appended>) {
    let (core, stored) = (core.clone(), message.clone());
    let done = move |result: Result<Appended, StoreError>| match result {
        Ok(appended) => core.delivery.message(Committed {
            message: stored,
            appended,
            origin,
            at: clock::now(),
            answer,
            permit,
        }),
        Err(error) => answer(Err(core.trouble(error))),
    };
    (message, Box::new(done))
}

/// Appends a call's messages in order, so many at once; the outcomes are in the same order.
pub(super) async fn append_all(
    core: &Arc<Core>,
    caller: &Caller,
    mut messages: impl Iterator<Item = Arc<Append>>,
) -> Vec<Result<Outcome, Reject>> {
    let most = MOST_AT_ONCE.min(core.appends.largest());
    let mut outcomes = Vec::new();
    loop {
        let some: Vec<_> = messages.by_ref().take(most).collect();
        if some.is_empty() {
            return outcomes;
        }
        outcomes.extend(append_some(core, caller, some).await);
    }
}

/// Appends in one transaction if possible, and waits for all.
async fn append_some(
    core: &Arc<Core>,
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
    let mut permit = match core.room(caller, turn, count).await {
        Ok(permit) => permit,
        Err(reject) => return (0..count).map(|_| Err(reject.clone())).collect(),
    };
    let (sender, mut receiver) = mpsc::channel(count.max(1));
    let batch = messages.into_iter().zip(under_way).enumerate();
    let batch = batch.filter_map(|(index, (message, under_way))| {
        let sender = sender.clone();
        let answer: Answer = Box::new(move |outcome| {
            drop(under_way);
            // There is room for all; nobody listens when the call was given up.
            let _ = sender.try_send((index, outcome));
        });
        Some(delivered(core, message, None, answer, permit.split_one()?))
    });
    let batch: Vec<_> = batch.collect();
    drop(sender);
    core.store.append(&mut batch.into_iter());
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
