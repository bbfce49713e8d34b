//! What clients have with the store at one time is bounded, for each connection and in all. Beyond it connections are not read.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;

use crate::core::Core;
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
    call: impl FnOnce(&Arc<Core>, Pending, OwnedSemaphorePermit) + Send + 'static,
) -> Option<BoxFuture> {
    let limit = core.config.limits.appends_in_flight_per_connection;
    let full = connection.link.append_begins(limit);
    let pending = Pending(connection.clone());
    match core.appends.clone().try_acquire_owned() {
        Ok(permit) => {
            call(core, pending, permit);
            full.then(|| -> BoxFuture { Box::pin(async move { connection.link.room(limit).await }) })
        }
        Err(_) => {
            let core = core.clone();
            Some(Box::pin(async move {
                // Closed it never is.
                if let Ok(permit) = core.appends.clone().acquire_owned().await {
                    call(&core, pending, permit);
                    connection.link.room(limit).await;
                }
            }))
        }
    }
}
