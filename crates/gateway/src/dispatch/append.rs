//! Gives messages to the store, and passes them to delivery once they are committed.
//!
//! The number of calls of the store that wait for their outcome is limited, per connection and in total. At
//! the limit, connections are not read.

use std::sync::Arc;
use std::time::Duration;

use mynah_socketio::BoxFuture;
use tokio::sync::mpsc;

use super::core::Core;
use crate::appends::{Account, Caller, Permit};
use crate::delivery::{Committed, OnDelivered, Outcome};
use crate::directory::{Connection, ConnectionId};
use crate::fair::Turn;
use crate::ids::Uid;
use crate::reject::Reject;
use crate::session::Link;
use crate::store::{Append, Appended, Done, StoreError};

/// How long a call of the API waits for a slot.
const ROOM_WAIT: Duration = Duration::from_secs(2);
/// The maximum number of messages of one API call that the store is given at once.
const MOST_AT_ONCE: usize = 1_024;

/// One of a connection's calls of the store, with its slot. Drop it when the call has ended, with or without
/// success.
pub(super) type Pending = (Counted, Permit);

/// Counts as one of the connection's calls until it is dropped.
pub(super) struct Counted(Arc<Connection<Link>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.link.append_ended();
    }
}

/// Calls the store with `call`, in the order of the connection's frames, and does not wait for the outcome.
/// If too many calls are in flight, the returned future must be awaited before the next frame is read.
pub(super) fn with_store(
    core: &Arc<Core>,
    connection: Arc<Connection<Link>>,
    uid: &Uid,
    call: impl FnOnce(&Arc<Core>, Pending) + Send + 'static,
) -> Option<BoxFuture> {
    let limit = core.config.limits.appends_in_flight_per_connection;
    let in_flight = connection.link.append_begins();
    let counted = Counted(connection.clone());
    let turn = Turn::of(in_flight);
    if let Some(permit) = core.appends.try_take(turn) {
        call(core, (counted, permit));
        let is_full = in_flight >= limit;
        return is_full.then(|| -> BoxFuture { Box::pin(async move { connection.link.room(limit).await }) });
    }
    let (core, account) = (core.clone(), Account::User(uid.clone()));
    Some(Box::pin(async move {
        // The number of waiting calls needs no limit, because a connection has at most one.
        if let Ok(permit) = core.appends.take(account, turn, 1).await {
            call(&core, (counted, permit));
            connection.link.room(limit).await;
        }
    }))
}

/// Returns what the store is given: the message, and a callback that delivers it to all connections but
/// `except` once it is committed. `answer` is called after the delivery, or if the store refuses the message.
pub(super) fn delivered(
    core: &Arc<Core>,
    message: Arc<Append>,
    except: Option<ConnectionId>,
    answer: OnDelivered,
) -> (Arc<Append>, Done<Appended>) {
    let (core, stored) = (core.clone(), message.clone());
    let done = move |result: Result<Appended, StoreError>| match result {
        Ok(appended) => {
            let message = stored;
            let committed = Committed {
                message,
                appended,
                except,
            };
            core.delivery.message(committed, answer);
        }
        Err(error) => answer(Err(core.trouble(error))),
    };
    (message, Box::new(done))
}

/// Appends the messages of a call in order, and returns their outcomes in the same order.
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

/// Appends these messages in one transaction if possible, and waits for all outcomes.
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
        let slot = permit.split_one()?;
        let answer: OnDelivered = Box::new(move |outcome| {
            drop((under_way, slot));
            // The channel has room for all. If the call was cancelled, there is no receiver.
            let _ = sender.try_send((index, outcome));
        });
        Some(delivered(core, message, None, answer))
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
    /// Waits for slots for `count` appends of a caller.
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
