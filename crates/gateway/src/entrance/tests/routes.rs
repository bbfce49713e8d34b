//! Several nodes: messages reach their recipients on all of them, whatever is lost on the way.

use std::collections::{BTreeMap, BTreeSet};

use mynah_cluster::simulated::{Faults, Redis};
use serde_json::{Value, json};

use super::nodes::slow;
use crate::config::{Conversation, KindRow, Policy};
use crate::order::{Sent, To};
use crate::testing::nodes::{Node, nodes};
use crate::testing::{Device, PATIENCE, Said, order, team, uid};

/// The places of the messages that a device has received, in order.
#[derive(Default)]
struct Received {
    places: BTreeMap<String, Vec<u64>>,
    /// The places that were in the answers to its own messages.
    own: BTreeMap<String, BTreeSet<u64>>,
    kinds: Vec<u64>,
}

impl Received {
    fn add(&mut self, frame: &Value) {
        let kind = frame["type"].as_u64().unwrap();
        self.kinds.push(kind);
        let place = |data: &Value| Some((data["conv"].as_str()?.to_owned(), data["seq"].as_u64()?));
        match kind {
            102 => {
                assert_eq!(frame["data"]["code"], 0, "{frame}");
                let (conv, seq) = place(&frame["data"]).unwrap();
                assert!(self.own.entry(conv).or_default().insert(seq), "{frame}");
            }
            // It has a place, but is no message of the history.
            107 => {}
            _ => {
                if let Some((conv, seq)) = place(frame) {
                    self.places.entry(conv).or_default().push(seq);
                }
            }
        }
    }

    /// Fails unless each conversation has ascended without a hole. Returns the number of its messages.
    fn check(&self, name: &str) -> usize {
        let mut all = 0;
        for (conv, seqs) in &self.places {
            assert!(seqs.is_sorted_by(|a, b| a < b), "{name}: {conv}: {seqs:?}");
            let own = self.own.get(conv);
            let own = own.into_iter().flatten();
            let mut known: Vec<u64> = own.chain(seqs).copied().collect();
            known.sort_unstable();
            assert!(
                known.windows(2).all(|two| two[1] == two[0] + 1),
                "{name}: {conv}: {known:?}"
            );
            all += seqs.len();
        }
        all
    }
}

/// Waits until a device has received so many messages of the history.
async fn receive(device: &Device, received: &mut Received, count: usize) {
    while received.places.values().map(Vec::len).sum::<usize>() < count {
        match device.ear.next().await {
            Said::Frame(frame, _) => received.add(&frame),
            other => panic!("{other:?}"),
        }
    }
}

fn to_user(user: usize, n: usize) -> Value {
    json!({"type": 101, "data": {"type": 3, "to": {"user": format!("u{user}")}, "data": {"n": n}}})
}

fn to_team(name: &str) -> Value {
    json!({"type": 101, "data": {"type": 15, "to": {"team": name}, "data": {}}})
}

/// Kind 1000, which is not stored.
fn unstored() -> KindRow {
    KindRow {
        number: 1_000,
        name: "TYPING".into(),
        conversation: Conversation::None,
        stored: false,
        unread: false,
        push: false,
        clients: true,
    }
}

async fn users(nodes: &[Node], count: usize) -> Vec<Device> {
    let mut devices = Vec::new();
    for user in 0..count {
        let world = &nodes[user % nodes.len()].world;
        devices.push(world.registered(&format!("u{user}"), &format!("d{user}")).await);
    }
    devices
}

/// Users of three nodes write to each other and to two teams, all at once.
async fn converse(faults: Faults) {
    const USERS: usize = 90;
    const ROUNDS: usize = 8;
    const WRITERS: usize = 6;
    let redis = Redis::new(3, Faults::default());
    let nodes: [Node; 3] = nodes(&redis, |_| {});
    let mut devices = users(&nodes, USERS).await;
    let gateway = &nodes[0].world.gateway;
    let members = |count: usize| {
        (0..count)
            .map(|user| uid(&format!("u{user}")))
            .collect::<Vec<_>>()
    };
    // The first is too large to be named in packets, and the second is looked up.
    for (name, count) in [("large", USERS), ("small", WRITERS)] {
        gateway
            .put_team(team(name), name.into(), members(count))
            .await
            .unwrap();
    }
    redis.set_faults(faults);
    for round in 0..ROUNDS {
        for (user, device) in devices.iter_mut().enumerate().take(WRITERS) {
            device.send(&to_user((user + 1) % WRITERS, round)).await;
            device.send(&to_team("large")).await;
            device.send(&to_team("small")).await;
        }
    }
    for (user, device) in devices.iter().enumerate() {
        let mut received = Received::default();
        let expected = match user < WRITERS {
            true => ROUNDS + 2 * (WRITERS - 1) * ROUNDS,
            false => WRITERS * ROUNDS,
        };
        let name = format!("u{user}");
        let all = tokio::time::timeout(PATIENCE, receive(device, &mut received, expected));
        assert!(
            all.await.is_ok(),
            "{name} lacks {expected}: {:?}",
            received.places
        );
        assert_eq!(received.check(&name), expected);
    }
    // Nothing comes twice, also when the follower has seen it.
    redis.set_faults(Faults::default());
    tokio::time::sleep(std::time::Duration::from_millis(1_600)).await;
    for device in &devices {
        let rest = device.ear.rest();
        let late = |said: &&Said| matches!(said, Said::Frame(frame, _) if frame["type"] != 102);
        assert_eq!(rest.iter().find(late), None);
    }
}

#[tokio::test]
async fn messages_reach_the_users_of_all_nodes_in_order() {
    converse(Faults::default()).await;
}

#[tokio::test]
async fn packets_that_are_lost_repeated_and_reordered_change_nothing() {
    converse(Faults {
        lost: 20,
        repeated: 20,
        overtaking: 30,
        unanswered: 5,
        delay_ms: (0, 20),
    })
    .await;
}

#[tokio::test]
async fn without_redis_messages_are_read_in_the_record() {
    let redis = Redis::new(1, Faults::default());
    let nodes: [Node; 2] = nodes(&redis, |_| {});
    let mut devices = users(&nodes, 2).await;
    redis.stop();
    for n in 0..3 {
        devices[0].send(&to_user(1, n)).await;
    }
    let mut received = Received::default();
    receive(&devices[1], &mut received, 3).await;
    assert_eq!(received.check("u1"), 3);
    // Who registers later is not sent what was committed before.
    let mut late = nodes[1].world.connect("late");
    devices[0].send(&to_user(7, 0)).await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let answer = late.register(json!({"uid": "u7", "deviceid": "late"})).await;
    assert_eq!(answer["unread"], 1);
    devices[0].send(&to_user(7, 1)).await;
    let mut received = Received::default();
    receive(&late, &mut received, 1).await;
    assert_eq!(received.places.values().next().unwrap(), &[2]);
}

#[tokio::test]
async fn answers_of_the_api_count_the_users_of_all_nodes() {
    let redis = Redis::new(1, slow(0, 3));
    let nodes: [Node; 3] = nodes(&redis, |config| config.kinds = vec![unstored()]);
    let devices = users(&nodes, 80).await;
    let gateway = &nodes[0].world.gateway;
    let uids: Vec<_> = (0..100).map(|user| uid(&format!("u{user}"))).collect();
    for (name, count) in [("large", 100), ("small", 3)] {
        gateway
            .put_team(team(name), name.into(), uids[..count].to_vec())
            .await
            .unwrap();
    }
    for kind in [3, 1_000] {
        let sent = gateway.send(order(kind, To::Users(uids.clone()))).await;
        let Ok(Sent::Users {
            online,
            offline,
            results,
        }) = sent
        else {
            panic!("{sent:?}")
        };
        assert_eq!((online, offline), (80, 20), "{kind}");
        for (user, result) in results.iter().enumerate() {
            assert_eq!(result.delivered, user < 80, "{kind}: {user}");
        }
    }
    let sent = gateway.send(order(1_000, To::Team(team("large")))).await;
    let Ok(Sent::Team { online, offline, .. }) = sent else {
        panic!("{sent:?}")
    };
    assert_eq!((online, offline), (80, 20));
    for round in 0..2 {
        for (name, expected) in [("large", (80, 20)), ("small", (3, 0))] {
            let sent = gateway.send(order(15, To::Team(team(name)))).await;
            let Ok(Sent::Team { online, offline, .. }) = sent else {
                panic!("{sent:?}")
            };
            assert_eq!((online, offline), expected, "{name} {round}");
        }
    }
    drop(devices);
}

#[tokio::test]
async fn members_learn_of_each_other_on_all_nodes() {
    let redis = Redis::new(1, slow(0, 5));
    let nodes: [Node; 3] = nodes(&redis, |_| {});
    let devices = users(&nodes, 6).await;
    let gateway = &nodes[0].world.gateway;
    let put = |users: std::ops::Range<usize>| {
        let members = users.map(|user| uid(&format!("u{user}"))).collect();
        gateway.put_team(team("t"), "T".into(), members)
    };
    put(0..3).await.unwrap();
    // Some of this is read in the record.
    redis.set_faults(Faults {
        lost: 50,
        ..slow(0, 5)
    });
    put(2..6).await.unwrap();
    let mut all: Vec<Received> = (0..6).map(|_| Received::default()).collect();
    for (user, received) in all.iter_mut().enumerate().skip(2) {
        receive(&devices[user], received, 5).await;
    }
    redis.set_faults(slow(0, 5));
    gateway.delete_team(team("t")).await.unwrap();
    // The numbers of the departures, of the five changes, and of the end: each learns only of its own.
    let expected: [&[u64]; 6] = [
        &[1],
        &[2],
        &[1, 2, 3, 4, 5, 6],
        &[1, 2, 3, 4, 5, 7],
        &[1, 2, 3, 4, 5, 8],
        &[1, 2, 3, 4, 5, 9],
    ];
    for (user, received) in all.iter_mut().enumerate() {
        receive(&devices[user], received, expected[user].len()).await;
        assert_eq!(
            received.places.values().next().unwrap(),
            expected[user],
            "u{user}"
        );
    }
}

#[tokio::test]
async fn what_is_not_stored_reaches_other_nodes_too() {
    let redis = Redis::new(1, Faults::default());
    let nodes: [Node; 2] = nodes(&redis, |config| {
        config.login.policy = Policy::Multi;
        config.kinds = vec![unstored()];
    });
    let mut devices = users(&nodes, 2).await;
    let other = nodes[1].world.registered("u0", "other").await;
    // A message that the recipient reads: both of the sender's devices learn of it.
    let answer = devices[0].message(to_user(1, 0)["data"].clone()).await;
    let frame = devices[1].ear.frame().await;
    assert_eq!((&frame["conv"], &frame["seq"]), (&answer["conv"], &answer["seq"]));
    assert_eq!(other.ear.frame().await["seq"], 1);
    let read = json!({"type": 106, "data": {"conv": answer["conv"], "seq": 1}});
    devices[1].ask(&read).await;
    for device in [&devices[0], &other] {
        let frame = device.ear.frame().await;
        assert_eq!(
            (&frame["type"], &frame["data"]["by"]),
            (&json!(107), &json!("u1"))
        );
    }
    let sent = nodes[0].world.gateway.send(order(1_000, To::Everyone)).await;
    assert!(matches!(sent, Ok(Sent::Everyone { online: 3 })), "{sent:?}");
}
