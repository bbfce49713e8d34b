//! What clients have with the store at one time is bounded, for each connection and in all. Beyond it connections are not read.

use std::sync::Arc;

use mynah_socketio::BoxFuture;

use super::core::Core;
use crate::appends::{Account, Permit};
use crate::fair::Turn;
use crate::ids::Uid;
use crate::registry::Connection;
use crate::session::Link;

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
