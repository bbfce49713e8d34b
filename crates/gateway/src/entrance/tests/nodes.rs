//! Several nodes: who is connected, whichever node a client has reached. Redis is in memory.

use std::time::Duration;

use mynah_cluster::simulated::{Faults, Redis};
use mynah_cluster::{Order, Oust, Packet, To, Why};
use serde_json::{Value, json};

use super::kit::kinds;
use crate::config::{Displaced, Policy};
use crate::testing::nodes::{NODES, Node, entered, nodes, peers, until};
use crate::testing::{Device, Said, uid};

pub(super) fn slow(from: u64, to: u64) -> Faults {
    Faults {
        delay_ms: (from, to),
        ..Faults::default()
    }
}

fn register(user: &str, device: &str) -> Value {
    json!({"type": 1, "data": {"uid": user, "deviceid": device}})
}

/// The sids of a user's connections that are registered on these nodes.
fn registered(nodes: &[Node], user: &str) -> Vec<String> {
    let mut sids = Vec::new();
    for node in nodes {
        node.world.running.registry.connections(&uid(user), |link, _| {
            sids.push(link.outlet().sid().to_owned());
        });
    }
    sids
}

#[tokio::test]
async fn of_two_devices_on_two_nodes_the_later_one_remains() {
    let redis = Redis::new(14, slow(0, 6));
    let nodes: [Node; 2] = nodes(&redis, |_| {});
    let [one, two] = &nodes;
    for round in 0..150 {
        let user = format!("user{round}");
        let sids = ["a", "b"].map(|letter| format!("{letter}{round}"));
        let mut devices = [one.world.connect(&sids[0]), two.world.connect(&sids[1])];
        let [first, second] = &mut devices;
        let frames = [register(&user, "d1"), register(&user, "d2")];
        tokio::join!(first.send(&frames[0]), second.send(&frames[1]));
        until("one remains", || {
            registered(&nodes, &user).len() == 1 && entered(&redis, &user).len() == 1
        })
        .await;
        let remaining = registered(&nodes, &user);
        assert_eq!(remaining, entered(&redis, &user), "round {round}");
        for (device, sid) in devices.iter().zip(&sids) {
            let said = device.ear.rest();
            let codes = said.iter().filter_map(|said| match said {
                Said::Frame(frame, _) => frame["data"]["code"].as_u64(),
                _ => None,
            });
            assert_eq!(codes.collect::<Vec<_>>(), [0], "round {round}");
            match *sid == remaining[0] {
                true => assert_eq!(kinds(said), [2], "round {round}"),
                false => assert_eq!(kinds(said), [json!(2), json!(12), json!("Away")], "round {round}"),
            }
        }
        devices.into_iter().for_each(Device::close);
        until("nobody remains", || entered(&redis, &user).is_empty()).await;
    }
}

#[tokio::test]
async fn a_displaced_device_learns_who_has_displaced_it() {
    let redis = Redis::new(1, Faults::default());
    let nodes: [Node; 2] = nodes(&redis, |config| config.login.displaced = Displaced::Notify);
    let [one, two] = &nodes;
    let mut phone = one.world.registered("alice", "phone").await;
    let other = json!({"uid": "alice", "deviceid": "laptop", "platform": "web"});
    let mut laptop = two.world.connect("laptop");
    laptop.register(other).await;
    let frame = phone.ear.frame().await;
    let who = json!({"deviceid": "laptop", "platform": "web"});
    assert_eq!(
        json!({"deviceid": frame["data"]["deviceid"], "platform": frame["data"]["platform"]}),
        who
    );
    assert_eq!(one.world.metrics().displaced.get(), 1);
    // It may register again.
    phone.register(json!({"uid": "alice", "deviceid": "phone"})).await;
    assert_eq!(laptop.ear.frame().await["type"], 12);
    assert_eq!(registered(&nodes, "alice"), ["phone"]);
    // A device that has reconnected on another node displaces nobody.
    let mut again = two.world.connect("again");
    again.register(json!({"uid": "alice", "deviceid": "phone"})).await;
    assert_eq!(phone.ear.next().await, Said::Cut);
    assert_eq!(two.world.metrics().displaced.get(), 1);
}

#[tokio::test]
async fn what_ends_a_registration_may_come_before_the_answer_to_its_claim() {
    let redis = Redis::new(1, slow(50, 50));
    let [one, _two] = nodes(&redis, |_| {});
    let stranger = redis.node(NODES[2], mynah_cluster::Policy::Single);
    for (order, expected) in [
        (u64::MAX, vec![json!(2), json!(12), json!("Away")]),
        // It is about an earlier claim of the connection.
        (1, vec![json!(2)]),
    ] {
        let sid = format!("s{order}");
        let mut device = one.world.connect(&sid);
        let frame = register("alice", &sid).to_string();
        let waits = device.begin("message", &[&frame], None).unwrap();
        let oust = Oust {
            uid: uid("alice"),
            sid: sid.into(),
            order: Order(order),
            why: Why::Displaced,
            by_device: None,
            by_platform: None,
        };
        let sent = stranger.bus.send(To::All, Packet::Oust(oust).encode());
        sent.unwrap();
        waits.await;
        assert_eq!(kinds(device.ear.rest()), expected);
    }
}

#[tokio::test]
async fn a_connection_that_closes_while_it_claims_is_released() {
    let redis = Redis::new(1, slow(20, 20));
    let nodes: [Node; 2] = nodes(&redis, |_| {});
    let mut device = nodes[0].world.connect("a");
    let frame = register("alice", "d").to_string();
    let waits = device.begin("message", &[&frame], None).unwrap();
    let waits = tokio::spawn(waits);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let ear = device.ear.clone();
    crate::session::Outlet::close_now(&ear, mynah_socketio::CloseReason::TransportClose);
    waits.await.unwrap();
    device.close();
    // Another user's claim comes after the release.
    let _bob = nodes[0].world.registered("bob", "b").await;
    until("released", || entered(&redis, "alice").is_empty()).await;
    assert!(registered(&nodes, "alice").is_empty());
    assert_eq!(kinds(ear.rest()), [json!("Cut")]);
}

#[tokio::test]
async fn a_connection_that_becomes_another_user_leaves_the_first() {
    let redis = Redis::new(1, slow(0, 5));
    let [one, _two] = nodes(&redis, |_| {});
    let mut device = one.world.connect("a");
    for _ in 0..20 {
        for user in ["alice", "bob"] {
            device.register(json!({"uid": user, "deviceid": "d"})).await;
        }
    }
    until("alice has left", || entered(&redis, "alice").is_empty()).await;
    assert_eq!(entered(&redis, "bob"), ["a"]);
}

#[tokio::test]
async fn registers_succeed_without_redis_and_are_repaired() {
    let redis = Redis::new(1, Faults::default());
    let nodes: [Node; 2] = nodes(&redis, |_| {});
    let [one, two] = &nodes;
    let old = one.world.registered("alice", "old").await;
    redis.stop();
    // The policy applies on this node at once.
    let first = one.world.registered("alice", "first").await;
    assert_eq!(kinds(old.ear.rest()), [json!(12), json!("Away")]);
    old.close();
    // Its claim has a later time.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = two.world.registered("alice", "second").await;
    assert_eq!(registered(&nodes, "alice"), ["first", "second"]);
    redis.start();
    until("the later one remains", || {
        registered(&nodes, "alice") == ["second"] && entered(&redis, "alice") == ["second"]
    })
    .await;
    assert_eq!(kinds(first.ear.rest()), [json!(12), json!("Away")]);
    // Redis loses everything, and nobody is disconnected.
    redis.forget();
    until("it is restored", || entered(&redis, "alice") == ["second"]).await;
    assert_eq!(kinds(second.ear.rest()), [0; 0]);
}

#[tokio::test]
async fn who_is_connected_is_known_to_all_nodes() {
    let redis = Redis::new(1, Faults::default());
    let nodes: [Node; 2] = nodes(&redis, |config| config.login.policy = Policy::Multi);
    let [one, two] = &nodes;
    let mut devices = vec![
        one.world.registered("alice", "a").await,
        two.world.registered("alice", "b").await,
        one.world.registered("alice", "c").await,
    ];
    let bob = two.world.registered("bob", "d").await;
    let uids = ["carol", "bob", "alice"].map(uid);
    for node in &nodes {
        let gateway = &node.world.gateway;
        assert_eq!(gateway.online(&uids).await, ["bob", "alice"].map(uid));
        let mut names = gateway.who_is_online(10).await;
        names.sort();
        assert_eq!(names, ["alice", "bob"].map(uid));
        assert_eq!(gateway.who_is_online(1).await.len(), 1);
        let view = gateway.user(&uid("alice")).await.unwrap();
        let mut sids: Vec<_> = view.connections.iter().map(|it| &*it.sid).collect();
        sids.sort_unstable();
        assert_eq!((view.online, sids), (true, vec!["a", "b", "c"]));
        assert!(view.connections.iter().all(|it| it.transport == "websocket"));
        assert!(!gateway.user(&uid("carol")).await.unwrap().online);
    }
    assert_eq!(two.world.gateway.sign_out(&uid("alice")).await, 3);
    for device in devices.drain(..) {
        assert_eq!(device.ear.next().await, Said::Away);
        device.close();
    }
    until("nobody is in the directory", || {
        entered(&redis, "alice").is_empty()
    })
    .await;
    assert_eq!(one.world.gateway.sign_out(&uid("alice")).await, 0);
    assert_eq!(bob.ear.rest(), []);
}

#[tokio::test]
async fn the_users_of_a_node_that_has_ended_are_expected_back() {
    let redis = Redis::new(1, Faults::default());
    let [one, two] = nodes(&redis, |_| {});
    let alice = two.world.registered("alice", "a").await;
    two.world.gateway.users_return();
    alice.close();
    one.cluster.know(peers(0, &[1]));
    let gateway = &one.world.gateway;
    assert_eq!(gateway.online(&[uid("alice")]).await, [uid("alice")]);
    let view = gateway.user(&uid("alice")).await.unwrap();
    assert!(view.online && view.connections.is_empty());
    // Its entry does not displace anybody, and is gone with the next register.
    let _alice = one.world.registered("alice", "b").await;
    assert_eq!(entered(&redis, "alice"), ["b"]);
}

#[tokio::test]
async fn what_a_user_has_used_up_on_one_node_is_not_left_on_another() {
    let redis = Redis::new(1, Faults::default());
    let [one, two] = nodes(&redis, |config| {
        config.limits.user_registers_per_minute = 1;
        config.limits.user_registers_burst = 6;
    });
    for number in 0..6 {
        one.world.registered("alice", &format!("a{number}")).await;
    }
    // The other node hears of it within half a second.
    let mut accepted = 0;
    loop {
        let mut device = two.world.connect(&format!("b{accepted}"));
        let answer = device.ask(&register("alice", "d")).await;
        if answer["code"] == 429 {
            break;
        }
        accepted += 1;
        assert!(accepted < 6, "the other node has heard nothing");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}
