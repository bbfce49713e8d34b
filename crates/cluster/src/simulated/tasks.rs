//! The tasks that run beside the nodes of a simulation.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, sleep_until};

use super::server::Shared;
use crate::bus::counts::Counters;
use crate::bus::publish::Out;
use crate::bus::{Received, To};
use crate::ids::Incarnation;

/// How often a node checks its connection, hears its own probe, and tries to connect.
const BEAT: Duration = Duration::from_millis(500);

/// Does what a node does regularly.
pub(super) async fn beats(shared: Arc<Shared>, own: Incarnation) {
    // Number 1 is the connection with which a node begins.
    for connection in 2.. {
        shared.server.lock().beat(own, connection);
        sleep(BEAT).await;
    }
}

/// Takes the packets that a node sends.
pub(super) async fn publish(shared: Arc<Shared>, own: Incarnation, mut waiting: Out, counts: Arc<Counters>) {
    while let Some((to, body)) = waiting.next().await {
        let packet = Received { from: own, body };
        let mut server = shared.server.lock();
        if !server.is_connected(own) {
            counts.lost(1);
            continue;
        }
        let others = server.others(own);
        let receivers = match to {
            To::Node(node) => vec![node],
            To::Nodes(nodes) => nodes.into_vec(),
            To::All => others,
        };
        let heard = receivers
            .iter()
            .filter(|to| server.publish(**to, &packet))
            .count();
        counts.published(receivers.len() as u64, (receivers.len() - heard) as u64);
        shared.was_sent.notify_one();
    }
}

/// Passes packets on when it is time.
pub(super) async fn pass_on(shared: Arc<Shared>) {
    loop {
        let next = shared.server.lock().deliver();
        let arrives = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.was_sent.notified() => {}
            () = arrives => {}
        }
    }
}
