//! Requests for sessions of other nodes: connects the forwarding of requests to what the cluster knows.

use std::sync::Arc;
use std::time::Duration;

use mynah_cluster::Incarnation;
use mynah_forward::{Forward, ForwardOptions, Identity, NoIdentity, SidTag};

use crate::cluster::Cluster;
use crate::config::Engine;
use crate::listen::ListenerSettings;

/// The longest time for which a connection to another node is kept without a request.
const MOST_IDLE: Duration = Duration::from_secs(30);

/// What the ids of the sessions of a node begin with.
pub(crate) fn tag(node: &Incarnation) -> SidTag {
    let [a, b, c, d, e, f, ..] = node.0;
    SidTag::new([a, b, c, d, e, f])
}

/// The options of forwarding. `key` is a key of the cluster for this use. If this node has TLS, other nodes
/// are expected to have it too.
pub(crate) fn options(
    key: [u8; 32],
    engine: &Engine,
    listening: &ListenerSettings,
) -> Result<ForwardOptions, NoIdentity> {
    let certificate = listening.certificate.as_ref();
    let identity = certificate.map(|_| Identity::new(&key)).transpose()?;
    if let (Some(certificate), Some(identity)) = (certificate, &identity) {
        certificate.show_to_nodes(identity.clone());
    }
    let public = &listening.public;
    // The other nodes keep a connection for this time if they have the same settings.
    let kept = Duration::from_millis(public.idle_timeout_ms.max(public.header_timeout_ms).into());
    let heartbeat_ms = u64::from(engine.ping_interval_ms) + u64::from(engine.ping_timeout_ms);
    Ok(ForwardOptions {
        key,
        identity,
        proxy_protocol: public.proxy_protocol,
        idle: MOST_IDLE.min(kept / 2),
        stall: Duration::from_millis(heartbeat_ms),
        admission: listening.admission.clone(),
    })
}

/// Tells `forward` of all nodes that live, whenever they change. Runs forever.
pub(crate) async fn follow(forward: Forward, cluster: Arc<Cluster>) {
    let mut peers = cluster.watch_peers();
    loop {
        {
            let peers = peers.borrow_and_update();
            let nodes = peers.live.values();
            forward.set_nodes(nodes.map(|node| (tag(&node.incarnation), &*node.advertise)));
        }
        // It does not fail, because the sender is a part of the cluster.
        let _ = peers.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_the_beginning_of_the_incarnation() {
        let node = Incarnation::parse("00108310518720928b30d38f41149351").unwrap();
        assert_eq!(format!("{:?}", tag(&node)), "SidTag(ABCDEFGH)");
    }
}
