//! What passes through a node that stops. Sessions of other nodes survive it: a pending GET is answered with
//! a noop, and a client on a WebSocket is made to reconnect.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::node::Node;

/// WebSockets are closed in this number of batches.
const BATCHES: u32 = 20;
/// How long the other node may take to close a WebSocket.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Whether this node stops, and what it still has to wait for.
pub(crate) struct Drain {
    /// Once this node stops: the time over which WebSockets are closed.
    over: watch::Sender<Option<Duration>>,
    /// One reference for each pending GET and each WebSocket.
    open: Arc<()>,
    batch: AtomicU32,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            over: watch::Sender::new(None),
            open: Arc::default(),
            batch: AtomicU32::new(0),
        }
    }
}

impl Drain {
    /// A reference that is held as long as something must be waited for.
    pub(crate) fn open(&self) -> Arc<()> {
        self.open.clone()
    }

    /// Waits until this node stops. Returns the time over which WebSockets are closed.
    pub(crate) async fn begun(&self) -> Duration {
        let mut over = self.over.subscribe();
        // It does not fail, because the sender is a part of this.
        let over = over.wait_for(Option::is_some).await;
        over.ok().and_then(|over| *over).unwrap_or_default()
    }

    /// See [`Forward::drain`](crate::Forward::drain).
    pub(crate) async fn run(&self, over: Duration) {
        self.over.send_replace(Some(over));
        while Arc::strong_count(&self.open) > 1 {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Runs the splice of a WebSocket until it ends, or the node of its session has ended. If this node
    /// stops, `close` closes the session first.
    pub(crate) async fn watch(
        &self,
        node: &Node,
        splice: impl Future<Output = ()>,
        close: impl Future<Output = ()>,
    ) {
        let _open = self.open();
        let stop = async {
            let over = self.begun().await;
            let batch = self.batch.fetch_add(1, Ordering::Relaxed) % BATCHES;
            sleep(over / BATCHES * batch).await;
            let _ = timeout(CLOSE_WITHIN, close).await;
            sleep(CLOSE_WITHIN).await;
        };
        tokio::select! {
            () = splice => {}
            () = node.until_ended() => {}
            () = stop => {}
        }
    }
}
