//! Limits on what a user sends within a time: messages, bytes, new conversations.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::order::To;
use crate::testing::{Device, World, order, team, uid};

fn to(user: &str, cid: Option<&str>) -> Value {
    json!({"type": 3, "to": {"user": user}, "cid": cid, "data": {"text": "x"}})
}

#[tokio::test]
async fn a_repeated_send_is_answered_even_beyond_a_limit() {
    let world = World::new(|config| {
        config.limits.user_messages_per_second = 1;
        config.limits.user_messages_burst = 1;
        config.limits.new_conversations_per_hour = 1;
    });
    let mut alice = world.registered("alice", "a").await;
    let retried = || json!({"type": 3, "to": {"user": "bob"}, "cid": "1", "data": {}});
    let first = alice.message(retried()).await;
    assert_eq!(first["code"], 0, "{first}");
    // Each second that this takes allows one more message.
    for round in 0.. {
        let again = alice.message(retried()).await;
        assert_eq!(
            (&again["code"], &again["duplicate"], &again["mid"]),
            (&json!(0), &json!(true), &first["mid"])
        );
        let fresh = format!("fresh {round}");
        let answer = alice
            .message(json!({"type": 3, "to": {"user": "bob"}, "cid": fresh, "data": {}}))
            .await;
        if answer["code"] == 429 {
            assert!(
                answer["error"]
                    .as_str()
                    .unwrap()
                    .contains("1 messages per second")
            );
            assert_eq!(answer["cid"], json!(fresh));
            break;
        }
    }
    let without = json!({"type": 3, "to": {"user": "bob"}, "data": {}});
    let mut codes = Vec::new();
    while codes.last() != Some(&json!(429)) {
        codes.push(alice.message(without.clone()).await["code"].clone());
    }
    let listed = alice.ask(&json!({"type": 110})).await;
    assert_eq!(
        listed["conversations"][0]["head"],
        listed["conversations"][0]["last"]["seq"]
    );
    assert_eq!(listed["conversations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_send_creates_no_conversation() {
    let world = World::new(|config| {
        config.limits.user_messages_per_second = 1;
        config.limits.user_messages_burst = 1;
    });
    let mut alice = world.registered("alice", "a").await;
    let mut refused = 0;
    let mut stored = 0;
    while refused < 3 {
        let peer = format!("peer-{refused}-{stored}");
        let answer = alice.message(to(&peer, Some("c"))).await;
        match answer["code"].as_u64().unwrap() {
            0 => stored += 1,
            429 => refused += 1,
            other => panic!("{other}: {answer}"),
        }
    }
    let listed = alice.ask(&json!({"type": 110})).await;
    assert_eq!(listed["conversations"].as_array().unwrap().len(), stored);
}

#[tokio::test]
async fn new_conversations_of_a_user_are_limited() {
    let world = World::new(|config| config.limits.new_conversations_per_hour = 3);
    world
        .gateway
        .put_team(team("t"), "T".into(), vec![uid("alice")])
        .await
        .unwrap();
    let mut alice = world.registered("alice", "a").await;
    // Messages of the backend, messages to teams, and refused messages do not count.
    for peer in ["api-1", "api-2", "api-3", "api-4"] {
        let mut by_api = order(3, To::User(uid(peer)));
        by_api.from = Some(uid("alice"));
        world.gateway.send(by_api).await.unwrap();
    }
    let to_team = json!({"type": 15, "to": {"team": "t"}, "data": {}});
    assert_eq!(alice.message(to_team).await["code"], 0);
    for refused in [
        json!({"type": 3, "to": {"user": "r"}}),
        json!({"type": 5, "to": {"user": "r"}, "data": {}}),
    ] {
        assert_ne!(alice.message(refused).await["code"], 0);
    }
    for peer in ["alice", "new-1", "new-2", "new-1"] {
        assert_eq!(alice.message(to(peer, Some("c1"))).await["code"], 0, "{peer}");
    }
    let refused = alice.message(to("new-3", Some("c2"))).await;
    assert_eq!((&refused["code"], &refused["cid"]), (&json!(429), &json!("c2")));
    let why = refused["error"].as_str().unwrap();
    assert!(why.contains("3 conversations per hour"), "{why}");
    // Existing conversations, repeated sends, and messages from others are not limited.
    assert_eq!(alice.message(to("api-1", None)).await["code"], 0);
    assert_eq!(
        alice.message(to("new-2", Some("c1"))).await["duplicate"],
        json!(true)
    );
    let mut bob = world.registered("new-3", "b").await;
    assert_eq!(bob.message(to("alice", None)).await["code"], 0);
    assert_eq!(alice.message(to("new-3", None)).await["code"], 0);
    assert_eq!(alice.message(to("new-4", None)).await["code"], 429);
    let metrics = world.metrics().prometheus_text();
    let counted = "mynah_limited_total{limit=\"new_conversations_per_hour\"} 2\n";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn bytes_of_a_user_are_limited() {
    let world = World::new(|config| {
        config.limits.message_bytes = 1_000;
        config.limits.user_bytes_per_minute = 60;
        config.limits.user_bytes_burst = 1_000;
    });
    let mut alice = world.registered("alice", "a").await;
    let message = |bytes: usize| json!({"type": 3, "to": {"user": "bob"}, "data": {"x": "y".repeat(bytes)}});
    assert_eq!(alice.message(message(800)).await["code"], 0);
    let refused = alice.message(message(800)).await;
    assert_eq!(refused["code"], 429);
    let why = refused["error"].as_str().unwrap();
    assert!(why.contains("60 bytes per minute"), "{why}");
    assert_eq!(
        alice.message(message(100)).await["code"],
        0,
        "what still fits is sent"
    );
    let mut bob = world.registered("bob", "b").await;
    let answer = json!({"type": 3, "to": {"user": "alice"}, "data": {"x": "y".repeat(800)}});
    assert_eq!(bob.message(answer).await["code"], 0);
}

/// Sends messages without waiting for the responses, until the connection is not read any more.
fn fill(device: &mut Device, most: usize) -> usize {
    let frame = json!({"type": 101, "data": {"type": 3, "to": {"user": "carol"}, "data": {}}}).to_string();
    (0..most)
        .take_while(|_| device.begin("message", &[&frame], Some(1)).is_none())
        .count()
}

/// The store is blocked: one user has as many messages in flight as it may.
#[tokio::test]
async fn a_greedy_user_does_not_delay_users_with_nothing_in_flight() {
    let (world, mut stepper) = World::stepped(|config| config.limits.appends_in_flight = 16);
    let mut devices = Vec::new();
    for uid in ["alice", "bob"] {
        let mut device = world.connect(uid);
        let frame = json!({"type": 1, "data": {"uid": uid}}).to_string();
        let waits = device.begin("message", &[&frame], Some(1)).unwrap();
        let waits = tokio::spawn(waits);
        while !waits.is_finished() {
            stepper.step(usize::MAX);
            tokio::task::yield_now().await;
        }
        device.ear.rest();
        devices.push(device);
    }
    let [mut alice, mut bob] = <[Device; 2]>::try_from(devices).ok().unwrap();
    assert_eq!(fill(&mut alice, 100), 12, "a quarter is kept for others");
    assert_eq!(fill(&mut bob, 1), 1, "bob's first message is taken at once");
    assert_eq!(stepper.depth(), 13);

    // A caller of the API that does the same does not delay users or other callers.
    let caller = |name: &str| world.gateway.for_caller(Caller::new(name.into()));
    let (greedy, other) = (caller("greedy"), caller("other"));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let greedy = greedy.clone();
        calls.spawn(async move { greedy.send(order(6, To::User(uid("carol")))).await });
    }
    while stepper.depth() < 14 {
        tokio::task::yield_now().await;
    }
    calls.spawn(async move { other.send(order(6, To::User(uid("carol")))).await });
    while stepper.depth() < 15 {
        tokio::task::yield_now().await;
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        stepper.depth(),
        15,
        "the greedy caller has one, and waits with the rest"
    );

    while !calls.is_empty() {
        stepper.step(usize::MAX);
        tokio::task::yield_now().await;
        while let Some(sent) = calls.try_join_next() {
            sent.unwrap().unwrap();
        }
    }
}
