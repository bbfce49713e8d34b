//! What these tests share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::config::Config;
use crate::testing::{Said, Troubled, World};

/// What a test can do to a store.
pub(super) struct Levers {
    /// Counting unread messages takes a permit.
    pub(super) unread: Arc<Semaphore>,
    /// Asking what was missed takes a permit.
    pub(super) missed: Arc<Semaphore>,
    /// Told when somebody asks what was missed.
    pub(super) missed_asked: Arc<Notify>,
    /// Writes fail.
    pub(super) full: Arc<AtomicBool>,
}

/// A world whose store can be made to wait and to fail.
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

/// The kinds of frames, and what else was told by its name.
pub(super) fn kinds(said: Vec<Said>) -> Vec<Value> {
    let kind = |said| match said {
        Said::Frame(frame, _) => frame["type"].clone(),
        other => json!(format!("{other:?}")),
    };
    said.into_iter().map(kind).collect()
}

/// The numbers of those that have one.
pub(super) fn seqs(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame["seq"].as_u64()).collect()
}
