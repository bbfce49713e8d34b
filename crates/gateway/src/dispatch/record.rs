//! The part of dispatch that appends and delivers: calls of the store, and delivery of what was committed.
//!
//! The number of calls of the store that wait for their outcome is limited, per connection and in total. At
//! the limit, connections are not read.

use std::sync::Arc;
use std::time::Duration;

use mynah_socketio::BoxFuture;

use crate::caller::Caller;
use crate::config::Config;
use crate::delivery::{Committed, Delivery, OnDelivered};
use crate::directory::{Connection, ConnectionId};
use crate::embed::Program;
use crate::fair::{OneAtATime, Slot, Slots, Turn};
use crate::ids::{TeamId, Uid};
use crate::metrics::Metrics;
use crate::push::Reached;
use crate::reject::{Code, Reject};
use crate::session::Link;
use crate::store::{Append, Appended, Done, Page, Store, StoreError};

/// How long a call of the API waits for a slot.
const SLOT_WAIT: Duration = Duration::from_secs(2);

/// The owner of a lane, in which the owner's requests wait.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Account {
    /// A user, with all connections.
    User(Uid),
    /// A caller, by its name.
    Caller(Arc<str>),
}

/// The slot of one request, or several slots.
pub(super) type Permit = Slot<Account>;

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

/// The state that appending and delivering need.
pub(crate) struct Record {
    pub(super) config: Arc<Config>,
    pub(super) store: Arc<dyn Store>,
    pub(super) delivery: Delivery,
    /// Knows which users have received which messages; `None` without a push webhook.
    pub(super) reached: Option<Arc<Reached>>,
    /// Slots for requests that the store or the delivery is working on. Each message, acknowledgement, read
    /// position, recall and change of a team holds one slot; there are `limits.appends_in_flight` in total.
    ///
    /// A quarter of the slots is reserved for connections and callers that have nothing in flight, so that
    /// nobody delays the others by sending as much as possible. A request that waits for a slot waits in the
    /// lane of its user or caller.
    pub(super) slots: Arc<Slots<Account>>,
    /// Teams that are being changed.
    pub(super) changing: OneAtATime<TeamId>,
    pub(super) metrics: Arc<Metrics>,
    /// Its listener for errors is called when the store fails.
    pub(super) program: Arc<Program>,
}

impl Record {
    /// Calls the store with `call`, in the order of the connection's frames, and does not wait for the
    /// outcome. If too many calls are in flight, the returned future must be awaited before the next frame is
    /// read.
    pub(super) fn call(
        self: &Arc<Self>,
        connection: Arc<Connection<Link>>,
        uid: &Uid,
        call: impl FnOnce(&Arc<Self>, Pending) + Send + 'static,
    ) -> Option<BoxFuture> {
        let limit = self.config.limits.appends_in_flight_per_connection;
        let in_flight = connection.link.append_begins();
        let counted = Counted(connection.clone());
        let turn = Turn::of(in_flight);
        if let Some(permit) = self.slots.try_take(turn) {
            call(self, (counted, permit));
            let is_full = in_flight >= limit;
            return is_full.then(|| -> BoxFuture {
                Box::pin(async move { connection.link.wait_for_appends(limit).await })
            });
        }
        let (record, account) = (self.clone(), Account::User(uid.clone()));
        Some(Box::pin(async move {
            // The number of waiting calls needs no limit, because a connection has at most one.
            if let Ok(permit) = record.slots.take(account, turn, 1).await {
                call(&record, (counted, permit));
                connection.link.wait_for_appends(limit).await;
            }
        }))
    }

    /// Returns what the store is given: the message, and a callback that delivers it to all connections but
    /// `except` once it is committed. `answer` is called after the delivery, or if the store refuses the
    /// message. It counts the recipients on all nodes unless a connection has sent the message.
    pub(super) fn delivered(
        self: &Arc<Self>,
        message: Arc<Append>,
        except: Option<ConnectionId>,
        answer: OnDelivered,
    ) -> (Arc<Append>, Done<Appended>) {
        let (record, stored) = (self.clone(), message.clone());
        let done = move |result: Result<Appended, StoreError>| match result {
            Ok(appended) => {
                let message = stored;
                let committed = Committed {
                    message,
                    appended,
                    except,
                    counts: except.is_none(),
                };
                record.delivery.message(committed, answer);
            }
            Err(error) => answer(Err(record.trouble(error))),
        };
        (message, Box::new(done))
    }

    /// Waits for slots for `count` appends of a caller.
    pub(super) async fn take_slots(
        &self,
        caller: &Caller,
        turn: Turn,
        count: usize,
    ) -> Result<Permit, Reject> {
        let slots = self.slots.take(Account::Caller(caller.name()), turn, count);
        match tokio::time::timeout(SLOT_WAIT, slots).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                self.metrics.limited("appends_in_flight");
                Err(Reject::unavailable(
                    "Too many messages wait for the store; try again later.",
                ))
            }
        }
    }

    /// Returns a page of at most `most` entries of the history, and at most a quarter of a connection's
    /// queue. Larger pages could disconnect clients as slow readers although they read.
    pub(super) fn page(&self, most: u32) -> Page {
        let bytes = self.config.limits.queue_bytes / 4;
        Page { most, bytes }
    }

    /// Returns the refusal for a failed call of the store. Also counts limits that were reached, and reports
    /// failures of the store itself to the operator.
    pub(crate) fn trouble(&self, error: StoreError) -> Reject {
        let reject = Reject::from(error.clone());
        match reject.code {
            Code::Unavailable => {
                tracing::warn!(%error, "a call of the store has failed");
                self.program.listeners.failed(&error.to_string());
            }
            // The number of a team's members is the only limit of size that the store checks.
            Code::TooLarge => self.metrics.limited("members"),
            // The number of new conversations is the only rate that the store limits.
            Code::TooFast => self.metrics.limited("new_conversations_per_hour"),
            _ => {}
        }
        reject
    }

    /// The number of free slots.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn free_slots(&self) -> usize {
        self.slots.free()
    }
}
