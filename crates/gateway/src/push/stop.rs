//! Makes the worker settle its jobs when the server stops, and waits for it.

use tokio::sync::Notify;

/// A request to settle, and its completion.
#[derive(Default)]
pub(crate) struct Settle {
    asked: Notify,
    settled: Notify,
}

impl Settle {
    /// Call it once all connections are closed, and before the store is closed. The worker ends; it waits for
    /// the attempts in flight.
    pub(crate) async fn settle(&self) {
        self.asked.notify_one();
        self.settled.notified().await;
    }

    /// Waits until [`Settle::settle`] is called.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Allows the caller of [`Settle::settle`] to continue.
    pub(super) fn settled(&self) {
        self.settled.notify_one();
    }
}
