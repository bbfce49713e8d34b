//! Devices that reconnect and resume.

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::kit::{kinds, levers, seqs};
use crate::config::Policy;
use crate::order::To;
use crate::testing::{Device, Said, World, order, team, uid};

/// Returns a message of kind 3 to `to`, for a frame 101.
fn to_user(to: &str, n: u64) -> Value {
    json!({"type": 3, "to": {"user": to}, "cid": format!("c{n}"), "data": {"n": n}})
}

async fn write(from: &mut Device, to: &str, numbers: std::ops::RangeInclusive<u64>) -> String {
    let mut conv = String::new();
    for n in numbers {
        let answer = from.message(to_user(to, n)).await;
        assert_eq!(answer["code"], 0, "{answer}");
        conv = answer["conv"].as_str().unwrap().to_owned();
    }
    conv
}

async fn ack(device: &mut Device, conv: &str, seq: u64) {
    let answer = device
        .ask(&json!({"type": 103, "data": {"conv": conv, "seq": seq}}))
        .await;
    assert_eq!(answer["code"], 0);
}

/// Registers with `resume`, without waiting for the replay.
async fn reconnect(world: &World, uid: &str, device: &str) -> (Device, Value) {
    let mut back = world.connect(&format!("{device}-again"));
    let answer = back
        .register(json!({"uid": uid, "deviceid": device, "resume": true}))
        .await;
    (back, answer)
}

/// Returns all frames up to and including kind 112.
async fn replayed(device: &Device) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let frame = device.ear.frame().await;
        let last = frame["type"] == 112;
        frames.push(frame);
        if last {
            return frames;
        }
    }
}

#[tokio::test]
async fn a_device_gets_unacknowledged_messages_and_then_112() {
    let world = World::new(|_| {});
    let mut bob = world.registered("bob", "b").await;
    let alice = world.registered("alice", "phone").await;
    let conv = write(&mut bob, "alice", 1..=5).await;
    alice.close();
    write(&mut bob, "alice", 6..=7).await;
    let (mut alice, answer) = reconnect(&world, "alice", "phone").await;
    assert_eq!(answer["unread"], 7);
    assert_eq!(
        answer["conversations"],
        json!([{"conv": conv, "head": 7, "cursor": 0, "read": 0, "unread": 7}])
    );
    assert_eq!(answer["more"], false);
    let frames = replayed(&alice).await;
    assert_eq!(seqs(&frames), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(frames[7]["data"], json!({"sent": 7, "complete": true}));
    assert_eq!(frames[0]["cid"], "c1");
    ack(&mut alice, &conv, 4).await;
    ack(&mut alice, &conv, 2).await;
    alice.close();
    let (mut alice, answer) = reconnect(&world, "alice", "phone").await;
    assert_eq!(
        answer["conversations"][0]["cursor"], 4,
        "it never moves backwards"
    );
    assert_eq!(seqs(&replayed(&alice).await), [5, 6, 7]);
    ack(&mut alice, &conv, u64::MAX).await;
    alice.close();
    let (alice, answer) = reconnect(&world, "alice", "phone").await;
    assert_eq!(
        answer["conversations"][0]["cursor"], 7,
        "beyond the head is the head"
    );
    assert_eq!(
        replayed(&alice).await[0]["data"],
        json!({"sent": 0, "complete": true})
    );
}

#[tokio::test]
async fn a_new_device_begins_at_the_heads() {
    let world = World::new(|config| config.login.policy = Policy::Multi);
    let mut bob = world.registered("bob", "b").await;
    let conv = write(&mut bob, "alice", 1..=3).await;
    let (alice, answer) = reconnect(&world, "alice", "phone").await;
    assert_eq!(
        answer["conversations"],
        json!([{"conv": conv, "head": 3, "cursor": 3, "read": 0, "unread": 3}])
    );
    assert_eq!(replayed(&alice).await.len(), 1);
    alice.close();
    write(&mut bob, "alice", 4..=4).await;
    // The same name for another uid is another device.
    let (carol, answer) = reconnect(&world, "carol", "phone").await;
    assert_eq!(
        (&answer["unread"], &answer["conversations"]),
        (&json!(0), &json!([]))
    );
    assert_eq!(replayed(&carol).await.len(), 1);
    let (alice, _) = reconnect(&world, "alice", "phone").await;
    assert_eq!(seqs(&replayed(&alice).await), [4]);
}

#[tokio::test]
async fn a_device_is_known_from_its_first_register() {
    let world = World::new(|_| {});
    let mut bob = world.registered("bob", "b").await;
    // Clients of the replaced Node module register without `resume`.
    world.registered("alice", "phone").await.close();
    write(&mut bob, "alice", 1..=2).await;
    let (alice, _) = reconnect(&world, "alice", "phone").await;
    assert_eq!(seqs(&replayed(&alice).await), [1, 2]);
    // A device without a name is known by the name that it was given.
    let mut nameless = world.connect("sid-1");
    let answer = nameless.register(json!({"uid": "dave", "resume": true})).await;
    assert_eq!(answer["deviceid"], "sid-1");
    replayed(&nameless).await;
    nameless.close();
    write(&mut bob, "dave", 3..=3).await;
    let (dave, _) = reconnect(&world, "dave", "sid-1").await;
    assert_eq!(seqs(&replayed(&dave).await), [1]);
}

#[tokio::test]
async fn messages_beyond_the_limit_are_left_to_sync() {
    let world = World::new(|config| config.limits.resume_messages = 4);
    let mut bob = world.registered("bob", "b").await;
    let mut carol = world.registered("carol", "c").await;
    world.registered("alice", "phone").await.close();
    let old = write(&mut bob, "alice", 1..=3).await;
    let new = write(&mut carol, "alice", 1..=3).await;
    let (mut alice, _) = reconnect(&world, "alice", "phone").await;
    let frames = replayed(&alice).await;
    let came: Vec<_> = frames[..4]
        .iter()
        .map(|frame| (frame["conv"].as_str().unwrap(), &frame["seq"]))
        .collect();
    let (one, two, three) = (json!(1), json!(2), json!(3));
    assert_eq!(
        came,
        [(&*new, &one), (&*new, &two), (&*new, &three), (&*old, &one)],
        "conversation by conversation, newest first"
    );
    assert_eq!(frames[4]["data"], json!({"sent": 4, "complete": false}));
    let rest = alice
        .ask(&json!({"type": 104, "data": {"conv": old, "after": 1}}))
        .await;
    assert_eq!(seqs(rest["messages"].as_array().unwrap()), [2, 3]);
}

#[tokio::test]
async fn pushes_during_a_replay_come_after_it_once() {
    let (world, levers) = levers(|_| {});
    let mut bob = world.registered("bob", "b").await;
    world.registered("alice", "phone").await.close();
    write(&mut bob, "alice", 1..=3).await;
    let mut alice = world.connect("again");
    alice.ear.room.forget_permits(Semaphore::MAX_PERMITS);
    levers.missed.forget_permits(Semaphore::MAX_PERMITS);
    let register = json!({"type": 1, "data": {"uid": "alice", "deviceid": "phone", "resume": true}});
    let waits = alice.begin("message", &[&register.to_string()], None).unwrap();
    // It is registered, but the store was not queried yet: these messages are both in the replay and among
    // the held ones.
    let waits = tokio::spawn(waits);
    levers.missed_asked.notified().await;
    write(&mut bob, "alice", 4..=5).await;
    levers.missed.add_permits(1);
    waits.await.unwrap();
    assert_eq!(alice.ear.frame().await["type"], 2);
    // These messages come after the store's result: they are only held.
    write(&mut bob, "alice", 6..=7).await;
    assert_eq!(alice.ear.rest(), [], "the reader sets the pace");
    alice.ear.room.add_permits(1_000);
    let frames = replayed(&alice).await;
    assert_eq!(seqs(&frames), [1, 2, 3, 4, 5]);
    assert_eq!(frames[5]["data"], json!({"sent": 5, "complete": true}));
    let live = [alice.ear.frame().await, alice.ear.frame().await];
    assert_eq!(seqs(&live), [6, 7]);
    write(&mut bob, "alice", 8..=8).await;
    assert_eq!(alice.ear.frame().await["seq"], 8);
}

#[tokio::test]
async fn requests_are_handled_during_a_replay() {
    let world = World::new(|_| {});
    let mut bob = world.registered("bob", "b").await;
    world.registered("alice", "phone").await.close();
    let conv = write(&mut bob, "alice", 1..=3).await;
    let mut alice = world.connect("again");
    alice.ear.room.forget_permits(Semaphore::MAX_PERMITS - 2);
    alice
        .register(json!({"uid": "alice", "deviceid": "phone", "resume": true}))
        .await;
    assert_eq!(alice.ear.frame().await["seq"], 1);
    ack(&mut alice, &conv, 1).await;
    // Options may change in the meantime; the replay continues.
    alice.register(json!({"uid": "alice", "format": "object"})).await;
    alice.ear.room.add_permits(100);
    assert_eq!(seqs(&replayed(&alice).await), [2, 3]);
}

#[tokio::test]
async fn resuming_again_replaces_a_replay() {
    let world = World::new(|_| {});
    let mut bob = world.registered("bob", "b").await;
    world.registered("alice", "phone").await.close();
    let conv = write(&mut bob, "alice", 1..=3).await;
    let mut alice = world.connect("again");
    alice.ear.room.forget_permits(Semaphore::MAX_PERMITS - 2);
    let register = json!({"uid": "alice", "deviceid": "phone", "resume": true});
    alice.register(register.clone()).await;
    assert_eq!(alice.ear.frame().await["seq"], 1);
    ack(&mut alice, &conv, 1).await;
    write(&mut bob, "alice", 4..=4).await;
    let answer = alice.register(register).await;
    assert_eq!(answer["conversations"][0]["cursor"], 1);
    alice.ear.room.add_permits(100);
    let frames = replayed(&alice).await;
    assert_eq!(seqs(&frames), [2, 3, 4]);
    write(&mut bob, "alice", 5..=5).await;
    assert_eq!(alice.ear.frame().await["seq"], 5, "what was held came once");
}

#[tokio::test]
async fn a_client_displaced_during_a_replay_gets_kind_12_and_nothing_more() {
    let world = World::new(|_| {});
    let mut bob = world.registered("bob", "b").await;
    world.registered("alice", "phone").await.close();
    write(&mut bob, "alice", 1..=3).await;
    let mut alice = world.connect("again");
    alice.ear.room.forget_permits(Semaphore::MAX_PERMITS - 2);
    alice
        .register(json!({"uid": "alice", "deviceid": "phone", "resume": true}))
        .await;
    assert_eq!(alice.ear.frame().await["seq"], 1);
    world.registered("alice", "laptop").await;
    alice.ear.room.add_permits(100);
    write(&mut bob, "alice", 4..=4).await;
    assert_eq!(kinds(alice.ear.rest()), [json!(12), json!("Away")]);
}

#[tokio::test]
async fn held_messages_of_one_user_do_not_reach_the_next() {
    let world = World::new(|_| {});
    let mut bob = world.registered("bob", "b").await;
    world.registered("alice", "phone").await.close();
    write(&mut bob, "alice", 1..=3).await;
    let mut shared = world.connect("again");
    shared.ear.room.forget_permits(Semaphore::MAX_PERMITS - 2);
    shared
        .register(json!({"uid": "alice", "deviceid": "phone", "resume": true}))
        .await;
    assert_eq!(shared.ear.frame().await["seq"], 1);
    write(&mut bob, "alice", 4..=4).await;
    shared
        .register(json!({"uid": "carol", "deviceid": "phone", "resume": true}))
        .await;
    shared.ear.room.add_permits(100);
    assert_eq!(kinds(vec![shared.ear.next().await]), [json!(112)]);
    write(&mut bob, "carol", 5..=5).await;
    assert_eq!(shared.ear.frame().await["data"]["n"], 5);
    assert_eq!(shared.ear.rest(), []);
}

#[tokio::test]
async fn a_failure_during_a_replay_leaves_the_rest_to_sync() {
    let (world, levers) = levers(|config| config.limits.queue_bytes = 1 << 20);
    let mut bob = world.registered("bob", "b").await;
    world.registered("alice", "phone").await.close();
    write(&mut bob, "alice", 1..=3).await;
    let mut alice = world.connect("again");
    alice.ear.room.forget_permits(Semaphore::MAX_PERMITS);
    alice
        .register(json!({"uid": "alice", "deviceid": "phone", "resume": true}))
        .await;
    levers.full.store(true, std::sync::atomic::Ordering::Relaxed);
    alice.ear.room.add_permits(100);
    let frames = replayed(&alice).await;
    assert_eq!(frames[0]["data"], json!({"sent": 0, "complete": false}));
    // A register with `resume` fails while the store fails, so that the client does not believe that it has
    // everything.
    let answer = world
        .connect("third")
        .ask(&json!({"type": 1, "data": {"uid": "alice", "deviceid": "x", "resume": true}}))
        .await;
    assert_eq!(answer["code"], 503);
    // A register without `resume` needs no cursors.
    world.registered("alice", "y").await;
}

#[tokio::test]
async fn a_send_moves_the_cursor_of_a_device_that_has_everything() {
    let world = World::new(|config| config.login.policy = Policy::Multi);
    let mut bob = world.registered("bob", "b").await;
    let mut alice = world.registered("alice", "phone").await;
    let tablet = world.registered("alice", "tablet").await;
    let conv = write(&mut alice, "bob", 1..=2).await;
    write(&mut bob, "alice", 3..=3).await;
    write(&mut alice, "bob", 4..=4).await;
    alice.close();
    tablet.close();
    let (alice, answer) = reconnect(&world, "alice", "phone").await;
    assert_eq!(
        answer["conversations"][0]["cursor"], 2,
        "the third was not acknowledged"
    );
    let frames = replayed(&alice).await;
    assert_eq!(seqs(&frames), [3, 4]);
    assert_eq!(frames[1]["cid"], "c4", "an own message is known by its cid");
    let (tablet, answer) = reconnect(&world, "alice", "tablet").await;
    assert_eq!(
        answer["conversations"],
        json!([{"conv": conv, "head": 4, "cursor": 0, "read": 0, "unread": 1}])
    );
    assert_eq!(seqs(&replayed(&tablet).await), [1, 2, 3, 4]);
}

#[tokio::test]
async fn teams_and_notices_are_replayed_too() {
    let world = World::new(|_| {});
    world.registered("alice", "phone").await.close();
    let members = vec![uid("alice"), uid("bob")];
    world
        .gateway
        .put_team(team("t"), "T".into(), members)
        .await
        .unwrap();
    world.gateway.send(order(15, To::Team(team("t")))).await.unwrap();
    world
        .gateway
        .send(order(5, To::User(uid("alice"))))
        .await
        .unwrap();
    let (alice, answer) = reconnect(&world, "alice", "phone").await;
    assert_eq!(answer["unread"], 2);
    assert_eq!(
        kinds(replayed(&alice).await.into_iter().map(said).collect()),
        [5, 15, 112].map(Value::from)
    );
}

fn said(frame: Value) -> Said {
    Said::Frame(frame, crate::frame::Format::String)
}
