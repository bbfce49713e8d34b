//! Test tools: nodes of a cluster. Redis is in memory.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mynah_cluster::Incarnation;
use mynah_cluster::simulated::{NodeParts, Redis};

use super::shared::Shared;
use super::{PATIENCE, World, uid};
use crate::builder::{Builder, Joined};
use crate::clock;
use crate::cluster::{Cluster, Peer, Peers};
use crate::config::{Config, Policy};
use crate::store::Store;
use crate::store::follow::{Point, RecordId};

/// The runs of the nodes.
pub(crate) const NODES: [Incarnation; 3] = [Incarnation([1; 16]), Incarnation([2; 16]), Incarnation([3; 16])];

pub(crate) fn peer(number: usize) -> Peer {
    Peer {
        incarnation: NODES[number],
        advertise: "".into(),
    }
}

/// Nodes that live, except those that have ended just now.
pub(crate) fn peers(own: usize, ended: &[usize]) -> Peers {
    let mut peers = Peers::default();
    for (number, incarnation) in NODES.into_iter().enumerate() {
        if ended.contains(&number) {
            peers.ended.insert(incarnation, clock::now());
        } else if number != own {
            peers.live.insert(incarnation, peer(number));
        }
    }
    peers
}

/// A node of a cluster.
pub(crate) struct Node {
    pub(crate) world: World,
    pub(crate) cluster: Arc<Cluster>,
}

/// A node. The first one makes the record, which all of them write.
fn node(redis: &Redis, number: usize, record: &OnceLock<Arc<Shared>>, change: impl Fn(&mut Config)) -> Node {
    let mut config = Config::default();
    change(&mut config);
    let policy = match config.login.policy {
        Policy::Single => mynah_cluster::Policy::Single,
        Policy::PerPlatform => mynah_cluster::Policy::PerPlatform(config.limits.connections_per_user),
        Policy::Multi => mynah_cluster::Policy::Multi(config.login.max_devices),
    };
    let NodeParts {
        directory,
        bus,
        inbox,
    } = redis.node(NODES[number], policy);
    let cluster = Cluster::new(peer(number), Duration::from_secs(10), directory, bus);
    cluster.know(peers(number, &[]));
    let cluster = Arc::new(cluster);
    let build = |builder: Builder| {
        builder.joined(Joined {
            cluster: cluster.clone(),
            inbox,
            record: record.get().expect("the store was opened before").clone(),
            begin: Point::new(RecordId(0), []),
        })
    };
    let wrap = |store| -> Arc<dyn Store> { record.get_or_init(|| Arc::new(Shared::new(store))).clone() };
    let world = World::built(change, build, wrap);
    Node { world, cluster }
}

/// So many nodes, which write one record.
pub(crate) fn nodes<const N: usize>(redis: &Redis, change: impl Fn(&mut Config)) -> [Node; N] {
    let record = OnceLock::new();
    let mut numbers = 0..N;
    let nodes = [(); N].map(|()| node(redis, numbers.next().expect("N numbers"), &record, &change));
    for (own, node) in nodes.iter().enumerate() {
        let mut peers = peers(own, &[]);
        peers
            .live
            .retain(|incarnation, _| NODES[..N].contains(incarnation));
        node.cluster.know(peers);
    }
    nodes
}

/// Waits until something is true.
pub(crate) async fn until(what: &str, is_true: impl Fn() -> bool) {
    let waiting = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The sids of a user's entries in the directory, oldest first.
pub(crate) fn entered(redis: &Redis, user: &str) -> Vec<String> {
    let entries = redis.entries(&uid(user)).into_iter();
    entries.map(|(_, entry)| entry.sid.into()).collect()
}
