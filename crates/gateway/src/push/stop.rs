//! Makes the worker settle its jobs when the server stops, and waits for it.

use tokio::sync::Notify;

/// A request to settle, and its completion.
#[derive(Default)]
pub(crate) struct Settle {
    /// Notified when the worker is to settle its jobs.
    pub(super) asked: Notify,
    /// Notified when it has done so.
    pub(super) settled: Notify,
}

impl Settle {
    /// Call it once all connections are closed, and before the store is closed. The worker ends; it waits for
    /// the attempts in flight.
    pub(crate) async fn settle(&self) {
        self.asked.notify_one();
        self.settled.notified().await;
    }
}
