//! Gives messages to the store, and passes them to delivery once they are committed.
//!
//! The number of calls of the store that wait for their outcome is limited, per connection and in total. At
//! the limit, connections are not read.

use std::sync::Arc;
use std::time::Duration;

use mynah_socketio::BoxFuture;

use super::core::{Account, Core, Permit};
use crate::caller::Caller;
use crate::delivery::{Committed, OnDelivered};
use crate::directory::{Connection, ConnectionId};
use crate::fair::Turn;
use crate::ids::Uid;
use crate::reject::Reject;
use crate::session::Link;
use crate::store::{Append, Appended, Done, StoreError};

/// How long a call of the API waits for a slot.
const ROOM_WAIT: Duration = Duration::from_secs(2);

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

impl Core {
    /// Waits for slots for `count` appends of a caller.
    pub(super) async fn room(&self, caller: &Caller, turn: Turn, count: usize) -> Result<Permit, Reject> {
        let slots = self.appends.take(Account::Caller(caller.name()), turn, count);
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
