//! Tools of these tests.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::config::Config;
use crate::testing::{Said, Troubled, World};

/// The controls of a store that can be made to wait and to fail.
pub(super) struct Levers {
    /// Counting unread messages takes a permit.
    pub(super) unread: Arc<Semaphore>,
    /// A query for missed messages takes a permit.
    pub(super) missed: Arc<Semaphore>,
    /// Notified at each query for missed messages.
    pub(super) missed_asked: Arc<Notify>,
    /// While this is true, writes fail.
    pub(super) full: Arc<AtomicBool>,
}

/// Creates a gateway whose store can be made to wait and to fail.
pub(super) fn levers(change: impl FnOnce(&mut Config)) -> (World, Levers) {
    let mut levers = None;
    let world = World::built(
        change,
        |builder| builder,
        |store| {
            let store = Troubled::new(store);
            levers = Some(Levers {
                unread: store.unread.clone(),
                missed: store.missed.clone(),
                missed_asked: store.missed_asked.clone(),
                full: store.full.clone(),
            });
            Arc::new(store)
        },
    );
    (world, levers.unwrap())
}

/// Returns the kinds of the frames, and the names of other items.
pub(super) fn kinds(said: Vec<Said>) -> Vec<Value> {
    let kind = |said| match said {
        Said::Frame(frame, _) => frame["type"].clone(),
        other => json!(format!("{other:?}")),
    };
    said.into_iter().map(kind).collect()
}

/// Returns the `seq` of the frames that have one.
pub(super) fn seqs(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame["seq"].as_u64()).collect()
}
