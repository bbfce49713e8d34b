//! Notifications by several nodes on one store. Redis is in memory.

use mynah_cluster::simulated::{Faults, NodeParts, Redis};
use mynah_cluster::{Ask, Entry, Packet, Policy, Received, Shows, To};

use super::*;
use crate::ids::DeviceId;
use crate::testing::Device;
use crate::testing::nodes::{NODES, Node, nodes, peers};

const VANISHED: DisconnectReason = DisconnectReason::Session(CloseReason::PingTimeout);

fn with_webhook(config: &mut Config, url: &str) {
    config.push.webhook.url = Some(url.into());
    config.push.delay_ms = 20;
}

/// Two nodes on one store.
fn two(redis: &Redis, url: &str) -> [Node; 2] {
    nodes(redis, |config| with_webhook(config, url))
}

/// Sends a message to bob, and then one to carol, who is offline. Returns when she is notified.
async fn to_both(node: &Node, posted: &mut Inbox) {
    let gateway = &node.world.gateway;
    gateway.send(from_alice(3)).await.unwrap();
    gateway
        .send(order(5, crate::order::To::User(uid("carol"))))
        .await
        .unwrap();
    assert_eq!(posted.next().await.uid(), "carol");
}

/// Waits until it was decided of this number of messages that they were received or delivered.
async fn skipped(nodes: &[Node], number: u64) {
    let count = || {
        nodes
            .iter()
            .map(|node| node.world.metrics().push_skipped.get())
            .sum::<u64>()
    };
    crate::testing::nodes::until("skipped", || count() >= number).await;
}

/// Connects bob, who never acknowledges.
async fn bob(node: &Node, silent_ms: u64) -> Device {
    let bob = node.world.registered("bob", "b").await;
    bob.ear.silent_ms.store(silent_ms, Ordering::Relaxed);
    bob
}

#[tokio::test]
async fn a_user_who_is_connected_to_another_node_is_not_notified() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let redis = Redis::new(1, Faults::default());
    let nodes = two(&redis, &url);
    let _bob = bob(&nodes[1], 0).await;
    for number in 1..=5 {
        to_both(&nodes[0], &mut posted).await;
        skipped(&nodes, number).await;
    }
    assert!(posted.is_empty());
}

#[tokio::test]
async fn a_connection_that_has_closed_on_another_node_had_the_message() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let redis = Redis::new(1, Faults::default());
    let nodes = two(&redis, &url);
    let bob = bob(&nodes[1], 60_000).await;
    nodes[0].world.gateway.send(from_alice(3)).await.unwrap();
    bob.close();
    skipped(&nodes, 1).await;
    nodes[0].world.gateway.send(from_alice(3)).await.unwrap();
    let told = posted.next().await.json();
    assert_eq!((&told["uid"], &told["seq"]), (&json!("bob"), &json!(2)), "{told}");
    assert!(posted.is_empty());
}

#[tokio::test]
async fn a_connection_that_has_vanished_on_another_node_had_nothing() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let redis = Redis::new(1, Faults::default());
    let nodes = two(&redis, &url);
    let bob = bob(&nodes[1], 60_000).await;
    to_both(&nodes[0], &mut posted).await;
    skipped(&nodes, 1).await;
    assert!(posted.is_empty());
    bob.end(VANISHED);
    assert_eq!(posted.next().await.uid(), "bob");
}

/// A node that has bob's connection, and says that everything was written to it.
async fn node_of_bob(redis: &Redis) -> tokio::task::AbortHandle {
    let NodeParts {
        directory,
        bus,
        mut inbox,
    } = redis.node(NODES[1], Policy::Single);
    let entry = Entry {
        sid: "b".into(),
        node: NODES[1],
        device: DeviceId::new("b").unwrap(),
        platform: None,
    };
    directory.claim(&uid("bob"), &entry, &[]).await.unwrap();
    let answering = async move {
        let mut packets = Vec::new();
        while inbox.receive(&mut packets, 10).await > 0 {
            for Received { from, body } in packets.drain(..) {
                if let Ok(Packet::Question { number, ask }) = Packet::decode(&body) {
                    let Ask::Shows(messages) = ask else { continue };
                    let answer = mynah_cluster::Answer::Shows(vec![Shows::Delivered(75_000); messages.len()]);
                    let sent = bus.send(To::Node(from), Packet::Answer { number, answer }.encode());
                    sent.unwrap();
                }
            }
        }
    };
    tokio::spawn(answering).abort_handle()
}

#[tokio::test]
async fn the_users_of_a_node_that_has_died_are_notified_in_the_end() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let redis = Redis::new(1, Faults::default());
    let [one] = nodes(&redis, |config| with_webhook(config, &url));
    let mut known = peers(0, &[]);
    known.live.remove(&NODES[2]);
    one.cluster.know(known);
    let other = node_of_bob(&redis).await;
    let team = TeamId::new("t").unwrap();
    let members = vec![uid("alice"), uid("bob")];
    let gateway = &one.world.gateway;
    gateway.put_team(team.clone(), "T".into(), members).await.unwrap();
    let to_team = SendOrder {
        from: Some(uid("alice")),
        ..order(15, crate::order::To::Team(team))
    };
    gateway.send(to_team).await.unwrap();
    to_both(&one, &mut posted).await;
    let one = [one];
    skipped(&one, 2).await;
    assert!(posted.is_empty());
    other.abort();
    let mut known = peers(0, &[1]);
    known.live.clear();
    one[0].cluster.know(known);
    // He is expected back for ten seconds.
    let mut kinds = [posted.next().await, posted.next().await].map(|told| {
        assert_eq!(told.uid(), "bob");
        told.json()["kind"].as_u64().unwrap()
    });
    kinds.sort_unstable();
    assert_eq!(kinds, [3, 15]);
}
