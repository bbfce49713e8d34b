//! Registers, displacement, and sign-out.

use serde_json::{Value, json};

use crate::config::{Displaced, Policy};
use crate::frame::Format;
use crate::order::To;
use crate::testing::{Device, Said, World, order, uid};

fn sids(view: &crate::UserView) -> Vec<&str> {
    view.connections
        .iter()
        .map(|connection| connection.sid.as_str())
        .collect()
}

async fn who(world: &World, user: &str) -> Vec<String> {
    let view = world.gateway.user(&uid(user)).await.unwrap();
    sids(&view).into_iter().map(Into::into).collect()
}

fn is_replaced(said: Said, by: &str, platform: Value) {
    let Said::Frame(frame, Format::String) = said else {
        panic!("kind 12 was due, {said:?} came")
    };
    assert_eq!(frame["type"], 12);
    assert_eq!(frame["data"]["reason"], "replaced");
    assert_eq!(frame["data"]["deviceid"], by);
    assert_eq!(frame["data"]["platform"], platform);
    assert!(frame["data"]["ts"].is_u64() && frame["ts"].is_u64());
    assert!(frame.get("mid").is_none() && frame.get("seq").is_none());
}

#[tokio::test]
async fn the_response_contains_uid_and_device() {
    let world = World::new(|_| {});
    let mut device = world.connect("sid-1");
    device
        .send(&json!({"type": 1, "req": "x", "data": {"uid": 42}}))
        .await;
    let frame = device.ear.frame().await;
    assert_eq!((&frame["type"], &frame["req"]), (&json!(2), &json!("x")));
    let data = frame["data"].as_object().unwrap();
    let mut keys: Vec<_> = data.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["code", "deviceid", "epoch", "sid", "ts", "uid", "unread"]);
    assert_eq!(data["uid"], "42");
    assert_eq!(data["sid"], "sid-1");
    assert_eq!(data["deviceid"], "sid-1", "unique to the connection");

    let view = world.gateway.user(&uid("42")).await.unwrap();
    assert_eq!(view.connections[0].class, "user");
    assert_eq!(view.connections[0].platform, None);
}

#[tokio::test]
async fn the_response_contains_the_unread_messages() {
    let world = World::new(|_| {});
    for kind in [3, 5, 18] {
        world
            .gateway
            .send(order(kind, To::User(uid("alice"))))
            .await
            .unwrap();
    }
    let mut device = world.connect("a");
    assert_eq!(
        device.register(json!({"uid": "alice"})).await["unread"],
        2,
        "18 does not count"
    );
}

#[tokio::test]
async fn a_refused_register_changes_nothing() {
    let world = World::new(|_| {});
    let mut device = world.registered("alice", "a").await;
    for data in [
        json!({}),
        json!({"uid": ""}),
        json!({"uid": "bob", "format": 1}),
        json!(7),
    ] {
        let answer = device.ask(&json!({"type": 1, "data": data})).await;
        assert_eq!(answer["code"], 400, "{data}");
    }
    assert_eq!(who(&world, "alice").await, ["a"]);
    assert_eq!(who(&world, "bob").await, Vec::<String>::new());
}

#[tokio::test]
async fn registering_as_another_uid_ends_the_first_registration() {
    let world = World::new(|_| {});
    let mut device = world.registered("alice", "a").await;
    device.register(json!({"uid": "bob"})).await;
    assert_eq!(who(&world, "alice").await, Vec::<String>::new());
    assert_eq!(who(&world, "bob").await, ["a"]);
    device.close();
    assert_eq!(world.gateway.users_online(), 0);
}

#[tokio::test]
async fn single_displaces_with_kind_12_and_disconnects_for_good() {
    let world = World::new(|_| {});
    let first = world.registered("alice", "d1").await;
    let mut second = world.connect("d2");
    second
        .register(json!({"uid": "alice", "deviceid": "d2", "platform": "ios"}))
        .await;
    is_replaced(first.ear.next().await, "d2", json!("ios"));
    assert_eq!(first.ear.next().await, Said::Away);

    world
        .gateway
        .send(order(5, To::User(uid("alice"))))
        .await
        .unwrap();
    assert_eq!(second.ear.frame().await["type"], 5);
    assert_eq!(first.ear.rest(), []);
    first.close();
    assert_eq!(who(&world, "alice").await, ["d2"]);
}

#[tokio::test]
async fn the_same_device_reconnecting_is_not_a_displacement() {
    for policy in [Policy::Single, Policy::PerPlatform, Policy::Multi] {
        let world = World::new(|config| config.login.policy = policy);
        let stale = world.registered("alice", "d1").await;
        let mut back = world.connect("again");
        back.register(json!({"uid": "alice", "deviceid": "d1"})).await;
        assert_eq!(stale.ear.rest(), [Said::Cut], "{policy:?}");
        stale.close();
        assert_eq!(who(&world, "alice").await, ["again"]);
    }
}

#[tokio::test]
async fn notify_leaves_the_connection_open_and_unregistered() {
    let world = World::new(|config| config.login.displaced = Displaced::Notify);
    let mut first = world.registered("alice", "d1").await;
    let _second = world.registered("alice", "d2").await;
    is_replaced(first.ear.next().await, "d2", Value::Null);
    let answer = first
        .message(json!({"type": 3, "to": {"user": "bob"}, "data": {}}))
        .await;
    assert_eq!(answer["code"], 401);
    first.register(json!({"uid": "alice", "deviceid": "d1"})).await;
    assert_eq!(who(&world, "alice").await, ["d1"]);
}

#[tokio::test]
async fn per_platform_keeps_one_connection_of_each() {
    let world = World::new(|config| config.login.policy = Policy::PerPlatform);
    let mut devices = Vec::new();
    for (device, platform) in [
        ("p1", json!("ios")),
        ("p2", json!("web")),
        ("p3", json!(null)),
        ("p4", json!("ios")),
    ] {
        let mut connection = world.connect(device);
        connection
            .register(json!({"uid": "alice", "deviceid": device, "platform": platform}))
            .await;
        devices.push(connection);
    }
    assert_eq!(who(&world, "alice").await, ["p2", "p3", "p4"]);
    is_replaced(devices[0].ear.next().await, "p4", json!("ios"));
    assert_eq!(devices[1].ear.rest(), []);
}

#[tokio::test]
async fn connections_of_a_user_are_limited_whatever_the_platforms() {
    let world = World::new(|config| {
        config.login.policy = Policy::PerPlatform;
        config.limits.connections_per_user = 3;
    });
    let mut devices = Vec::new();
    for platform in ["a", "b", "c", "b", "d", "e"] {
        let sid = format!("{platform}{}", devices.len());
        let mut connection = world.connect(&sid);
        connection
            .register(json!({"uid": "alice", "platform": platform}))
            .await;
        devices.push(connection);
    }
    assert_eq!(who(&world, "alice").await, ["b3", "d4", "e5"]);
    is_replaced(devices[0].ear.next().await, "d4", json!("d"));
    is_replaced(devices[2].ear.next().await, "e5", json!("e"));
}

/// Registers as `uid` and returns the code.
async fn registers(device: &mut Device, uid: &str) -> Value {
    let answer = device.ask(&json!({"type": 1, "data": {"uid": uid}})).await;
    answer["code"].clone()
}

#[tokio::test]
async fn registers_of_a_connection_are_limited() {
    let world = World::new(|config| {
        config.limits.registers_per_minute = 1;
        config.limits.registers_burst = 2;
    });
    let mut device = world.registered("alice", "a").await;
    assert_eq!(registers(&mut device, "bob").await, 0);
    assert_eq!(registers(&mut device, "carol").await, 429);
    assert_eq!(who(&world, "bob").await, ["a"], "it stays what it was");
    // Another connection is not affected.
    assert_eq!(registers(&mut world.connect("b"), "carol").await, 0);
}

#[tokio::test]
async fn registers_of_a_user_are_limited_over_all_connections() {
    let world = World::new(|config| {
        config.limits.user_registers_per_minute = 1;
        config.limits.user_registers_burst = 2;
    });
    let _first = world.registered("alice", "a").await;
    let _second = world.registered("alice", "b").await;
    let mut third = world.connect("c");
    assert_eq!(registers(&mut third, "alice").await, 429);
    assert_eq!(who(&world, "alice").await, ["b"]);
    assert_eq!(registers(&mut third, "bob").await, 0);
}

#[tokio::test]
async fn multi_displaces_the_oldest_beyond_the_limit() {
    let world = World::new(|config| {
        config.login.policy = Policy::Multi;
        config.login.max_devices = 2;
    });
    let mut first = world.registered("alice", "m1").await;
    let second = world.registered("alice", "m2").await;
    // Registering again is not a new device, and does not make the connection newer.
    first.register(json!({"uid": "alice"})).await;
    let _third = world.registered("alice", "m3").await;
    assert_eq!(who(&world, "alice").await, ["m2", "m3"]);
    is_replaced(first.ear.next().await, "m3", Value::Null);
    assert_eq!(second.ear.rest(), []);
}

#[tokio::test]
async fn a_sign_out_disconnects_all_connections_for_good() {
    let world = World::new(|config| config.login.policy = Policy::Multi);
    let mut devices = [
        world.registered("alice", "a").await,
        world.registered("alice", "b").await,
    ];
    let bystander = world.registered("bob", "c").await;
    assert_eq!(world.gateway.sign_out(&uid("alice")).await, 2);
    assert_eq!(world.gateway.sign_out(&uid("alice")).await, 0);
    for device in &mut devices {
        assert_eq!(device.ear.rest(), [Said::Away]);
        // It is being disconnected: what it still sends has no effect.
        device.send(&json!({"type": 1, "data": {"uid": "alice"}})).await;
    }
    assert_eq!(bystander.ear.rest(), []);
    assert_eq!(world.gateway.users_online(), 1);
}

#[tokio::test]
async fn a_hundred_concurrent_registers_leave_one() {
    let world = World::new(|_| {});
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..100 {
        let mut device = world.connect(&format!("s{index}"));
        tasks.spawn(async move {
            device.send(&json!({"type": 1, "data": {"uid": "alice"}})).await;
            device
        });
    }
    let devices = tasks.join_all().await;
    assert_eq!(who(&world, "alice").await.len(), 1);
    let away = devices
        .iter()
        .filter(|device| device.ear.rest().contains(&Said::Away))
        .count();
    assert_eq!(away, 99);
    devices.into_iter().for_each(crate::testing::Device::close);
    assert_eq!(world.gateway.users_online(), 0);
}
