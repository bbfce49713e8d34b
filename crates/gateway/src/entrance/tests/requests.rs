//! Requests of kinds 103 to 110.

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::kit::{kinds, levers, seqs};
use crate::config::Policy;
use crate::order::To;
use crate::testing::{Device, Said, World, order, team, uid};

async fn ask(device: &mut Device, kind: u16, data: Value) -> Value {
    device.ask(&json!({"type": kind, "data": data})).await
}

async fn refused(device: &mut Device, kind: u16, data: Value, code: u16) {
    let answer = ask(device, kind, data.clone()).await;
    assert_eq!(answer["code"], code, "{kind} {data}: {answer}");
    assert!(answer["error"].as_str().unwrap().ends_with('.'), "{answer}");
}

async fn say(from: &mut Device, to: &str, n: u64) -> Value {
    from.message(json!({"type": 3, "to": {"user": to}, "data": {"n": n}}))
        .await
}

fn conv(answer: &Value) -> String {
    answer["conv"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn requests_before_a_register_are_refused() {
    let world = World::new(|_| {});
    let mut device = world.connect("a");
    for kind in [103, 104, 106, 108, 110] {
        refused(&mut device, kind, json!({}), 401).await;
    }
}

#[tokio::test]
async fn requests_without_a_response_kind_are_answered_by_callback_only() {
    let world = World::new(|_| {});
    let mut alice = world.registered("alice", "a").await;
    let conv = conv(&say(&mut alice, "bob", 1).await);
    for kind in [103, 106] {
        let data = json!({"conv": conv, "seq": 1});
        alice.send(&json!({"type": kind, "req": "r", "data": data})).await;
        let frame = alice.ear.frame().await;
        assert_eq!(frame, json!({"type": 100, "req": "r", "data": {"code": 0}}));
        alice.send(&json!({"type": kind, "data": data})).await;
        alice.send(&json!({"type": kind, "data": 5})).await;
        // The two frames before were not answered.
        assert_eq!(ask(&mut alice, kind, data).await, json!({"code": 0}));
        assert_eq!(alice.ear.rest(), []);
    }
}

#[tokio::test]
async fn errors_of_positions_say_what_is_wrong() {
    let world = World::new(|_| {});
    let mut alice = world.registered("alice", "a").await;
    let mut eve = world.registered("eve", "e").await;
    let conv = conv(&say(&mut alice, "bob", 1).await);
    for kind in [103, 106] {
        for data in [
            json!({}),
            json!({"conv": conv}),
            json!({"conv": conv, "seq": -1}),
            json!({"conv": conv, "seq": 1.5}),
            json!({"conv": conv, "seq": "1"}),
            json!({"conv": 7, "seq": 1}),
            json!([conv, 1]),
            json!(null),
        ] {
            refused(&mut alice, kind, data, 400).await;
        }
        refused(&mut alice, kind, json!({"conv": "nonsense", "seq": 1}), 403).await;
        refused(&mut alice, kind, json!({"conv": "0".repeat(32), "seq": 1}), 403).await;
        refused(&mut eve, kind, json!({"conv": conv, "seq": 1}), 403).await;
        let far = format!(
            r#"{{"type":{kind},"data":{{"conv":"{conv}","seq":{}}}}}"#,
            "9".repeat(60)
        );
        alice.event("message", &[&far], Some(9)).await;
        let Said::Ack(9, beyond) = alice.ear.next().await else {
            panic!("no answer")
        };
        assert_eq!((&beyond["code"], &beyond["head"]), (&json!(0), &json!(1)));
        assert!(
            beyond["epoch"].is_string(),
            "whoever has more than the head has another history"
        );
    }
    let page = ask(&mut alice, 110, json!({})).await;
    let line = &page["conversations"][0];
    assert_eq!(
        (&line["cursor"], &line["read"], &line["head"]),
        (&json!(1), &json!(1), &json!(1))
    );
}

#[tokio::test]
async fn history_is_paged_in_both_directions() {
    let world = World::new(|_| {});
    let mut alice = world.registered("alice", "a").await;
    let mut eve = world.registered("eve", "e").await;
    let mut sent = Value::Null;
    for n in 1..=5 {
        sent = say(&mut alice, "bob", n).await;
    }
    let conv = conv(&sent);
    let page = |data: Value| {
        let mut data = data;
        data["conv"] = json!(conv);
        data
    };
    for (data, expected, more) in [
        (json!({"after": 0}), vec![1, 2, 3, 4, 5], false),
        (json!({"after": 1, "limit": 2}), vec![2, 3], true),
        (json!({"after": 5}), vec![], false),
        (json!({"after": 1_000_000}), vec![], false),
        (json!({"before": 6, "limit": 500}), vec![5, 4, 3, 2, 1], false),
        (json!({"before": 4, "limit": 2}), vec![3, 2], true),
        (json!({"before": 1}), vec![], false),
        (json!({"before": 0}), vec![], false),
    ] {
        let answer = ask(&mut alice, 104, page(data.clone())).await;
        assert_eq!(seqs(answer["messages"].as_array().unwrap()), expected, "{data}");
        assert_eq!(
            (&answer["code"], &answer["conv"], &answer["head"]),
            (&json!(0), &json!(conv), &json!(5))
        );
        assert_eq!(answer["more"], more, "{data}");
    }
    for data in [
        json!({}),
        json!({"after": 0, "before": 9}),
        json!({"after": 0, "limit": 0}),
        json!({"after": 0, "limit": 501}),
        json!({"after": 0, "limit": 1_000_000_000}),
        json!({"after": -1}),
        json!({"before": "5"}),
        json!({"after": 1.5}),
    ] {
        refused(&mut alice, 104, page(data), 400).await;
    }
    refused(&mut eve, 104, page(json!({"after": 0})), 403).await;
    refused(&mut eve, 104, json!({"conv": "x", "after": 0}), 403).await;
    refused(&mut eve, 104, json!({"conv": [], "after": 0}), 400).await;
}

#[tokio::test]
async fn a_page_fits_its_share_of_the_queue() {
    let world = World::new(|config| config.limits.queue_bytes = 100_000);
    let mut alice = world.registered("alice", "a").await;
    let filler = "x".repeat(10_000);
    let mut sent = Value::Null;
    for _ in 0..6 {
        let data = json!({"type": 3, "to": {"user": "bob"}, "data": {"filler": filler}});
        sent = alice.message(data).await;
    }
    let conv = conv(&sent);
    let answer = ask(&mut alice, 104, json!({"conv": conv, "after": 0})).await;
    assert_eq!(seqs(answer["messages"].as_array().unwrap()), [1, 2, 3]);
    assert_eq!(answer["more"], true);
}

#[tokio::test]
async fn a_read_is_told_to_the_users_concerned() {
    let world = World::new(|config| {
        config.login.policy = Policy::Multi;
        config.limits.read_receipt_members = 3;
    });
    let mut alice = world.registered("alice", "a").await;
    let tablet = world.registered("alice", "t").await;
    let mut bob = world.registered("bob", "b").await;
    let eve = world.registered("eve", "e").await;
    let pair = conv(&say(&mut bob, "alice", 1).await);
    for device in [&alice, &tablet] {
        device.ear.frame().await;
    }
    assert_eq!(
        ask(&mut alice, 106, json!({"conv": pair, "seq": 99})).await["head"],
        1
    );
    for device in [&tablet, &bob] {
        let frame = device.ear.frame().await;
        assert_eq!(frame["type"], 107);
        assert_eq!(frame["data"], json!({"conv": pair, "seq": 1, "by": "alice"}));
    }
    assert_eq!(world.gateway.user(&uid("alice")).await.unwrap().unread, 0);
    // Reading again moves nothing, and nobody is told.
    ask(&mut alice, 106, json!({"conv": pair, "seq": 1})).await;
    let notices = world.gateway.send(order(5, To::User(uid("alice")))).await;
    notices.unwrap();
    let notice = alice.ear.frame().await;
    tablet.ear.frame().await;
    ask(&mut alice, 106, json!({"conv": notice["conv"], "seq": 1})).await;
    assert_eq!(tablet.ear.frame().await["type"], 107);
    assert_eq!(
        (bob.ear.rest(), eve.ear.rest(), alice.ear.rest()),
        (vec![], vec![], vec![])
    );

    for (name, members, told) in [
        ("small", vec!["alice", "bob", "x"], true),
        ("large", vec!["alice", "bob", "x", "y"], false),
    ] {
        let members = members.into_iter().map(uid).collect();
        world
            .gateway
            .put_team(team(name), name.into(), members)
            .await
            .unwrap();
        world.gateway.send(order(15, To::Team(team(name)))).await.unwrap();
        let push = alice.ear.frame().await;
        ask(&mut alice, 106, json!({"conv": push["conv"], "seq": 1})).await;
        assert_eq!(kinds(tablet.ear.rest()), [15, 107].map(Value::from));
        assert_eq!(kinds(bob.ear.rest()).contains(&json!(107)), told, "{name}");
    }
    assert_eq!(eve.ear.rest(), []);
}

#[tokio::test]
async fn a_sender_recalls_a_message() {
    let world = World::new(|config| config.login.policy = Policy::Multi);
    let mut alice = world.registered("alice", "a").await;
    let tablet = world.registered("alice", "t").await;
    let mut bob = world.registered("bob", "b").await;
    let sent = say(&mut alice, "bob", 1).await;
    tablet.ear.frame().await;
    bob.ear.frame().await;
    let mid = json!({"mid": sent["mid"]});
    refused(&mut bob, 108, mid.clone(), 403).await;
    alice.send(&json!({"type": 108, "req": 1, "data": mid})).await;
    let told = alice.ear.frame().await;
    assert_eq!(
        (&told["type"], &told["data"], &told["seq"]),
        (&json!(109), &mid, &json!(2))
    );
    assert_eq!(told["from"], "alice");
    let answer = alice.ear.frame().await;
    assert_eq!(
        (&answer["type"], &answer["req"], &answer["data"]["code"]),
        (&json!(100), &json!(1), &json!(0))
    );
    for field in ["mid", "conv", "seq", "ts"] {
        assert_eq!(answer["data"][field], told[field], "{field}");
    }
    for device in [&tablet, &bob] {
        assert_eq!(device.ear.frame().await, told);
    }
    let page = ask(&mut bob, 104, json!({"conv": told["conv"], "after": 0})).await;
    let first = &page["messages"][0];
    assert_eq!(
        (&first["data"], &first["recalled"], &first["mid"]),
        (&Value::Null, &json!(true), &sent["mid"])
    );
    assert_eq!(page["messages"][1], told);
    assert_eq!(world.gateway.user(&uid("bob")).await.unwrap().unread, 0);

    refused(&mut alice, 108, mid, 409).await;
    refused(&mut alice, 108, json!({"mid": told["mid"]}), 403).await;
    refused(&mut alice, 108, json!({"mid": "x"}), 404).await;
    refused(
        &mut alice,
        108,
        json!({"mid": "01a20564-c644-70cf-aa41-a4cbc5ad6890"}),
        404,
    )
    .await;
    for data in [json!({"mid": 7}), json!({}), json!([]), json!(null)] {
        refused(&mut alice, 108, data, 400).await;
    }
}

#[tokio::test]
async fn an_old_message_cannot_be_recalled() {
    let world = World::new(|config| config.limits.recall_window_ms = 0);
    let mut alice = world.registered("alice", "a").await;
    let sent = say(&mut alice, "bob", 1).await;
    let asked = crate::clock::unix_millis();
    while crate::clock::unix_millis() <= asked {
        tokio::task::yield_now().await;
    }
    refused(&mut alice, 108, json!({"mid": sent["mid"]}), 403).await;
}

#[tokio::test]
async fn requests_of_a_former_member_are_refused() {
    let world = World::new(|_| {});
    let mut alice = world.registered("alice", "a").await;
    world
        .gateway
        .put_team(team("t"), "T".into(), vec![uid("alice"), uid("bob")])
        .await
        .unwrap();
    let sent = alice
        .message(json!({"type": 15, "to": {"team": "t"}, "data": {}}))
        .await;
    let conv = conv(&sent);
    world
        .gateway
        .remove_members(team("t"), vec![uid("alice")])
        .await
        .unwrap();
    alice.ear.frame().await;
    refused(&mut alice, 103, json!({"conv": conv, "seq": 1}), 403).await;
    refused(&mut alice, 104, json!({"conv": conv, "after": 0}), 403).await;
    refused(&mut alice, 106, json!({"conv": conv, "seq": 1}), 403).await;
    refused(&mut alice, 108, json!({"mid": sent["mid"]}), 403).await;
    assert_eq!(ask(&mut alice, 110, json!({})).await["conversations"], json!([]));
    world.gateway.delete_team(team("t")).await.unwrap();
    refused(&mut alice, 104, json!({"conv": conv, "after": 0}), 403).await;
}

#[tokio::test]
async fn a_new_member_sees_messages_after_joining() {
    for all in [false, true] {
        let world = World::new(|config| config.teams.history_for_new_members = all);
        let mut alice = world.registered("alice", "a").await;
        let mut carol = world.registered("carol", "c").await;
        world
            .gateway
            .put_team(team("t"), "T".into(), vec![uid("alice")])
            .await
            .unwrap();
        let sent = alice
            .message(json!({"type": 15, "to": {"team": "t"}, "data": {"n": 1}}))
            .await;
        world
            .gateway
            .add_members(team("t"), vec![uid("carol")])
            .await
            .unwrap();
        alice
            .message(json!({"type": 15, "to": {"team": "t"}, "data": {"n": 2}}))
            .await;
        let page = ask(&mut carol, 104, json!({"conv": sent["conv"], "after": 0})).await;
        let expected: &[u64] = if all { &[1, 2, 3] } else { &[2, 3] };
        assert_eq!(seqs(page["messages"].as_array().unwrap()), expected);
        let list = ask(&mut carol, 110, json!({})).await;
        let line = &list["conversations"][0];
        assert_eq!(
            (&line["team"], &line["unread"], &line["read"]),
            (&json!("t"), &json!(1), &json!(1))
        );
    }
}

#[tokio::test]
async fn conversations_are_listed_by_page() {
    let world = World::new(|_| {});
    let mut alice = world.registered("alice", "a").await;
    let mut last = Value::Null;
    for index in 0..5 {
        last = say(&mut alice, &format!("u{index}"), index).await;
    }
    let mut after = Value::Null;
    let mut peers = Vec::new();
    loop {
        let page = ask(&mut alice, 110, json!({"after": after, "limit": 2})).await;
        assert_eq!(page["code"], 0);
        peers.extend(
            page["conversations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| line["peer"].clone()),
        );
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(peers, ["u4", "u3", "u2", "u1", "u0"].map(Value::from));
    let first = &ask(&mut alice, 110, json!({"limit": 1})).await["conversations"][0];
    assert_eq!(
        (&first["kind"], &first["head"], &first["cursor"], &first["unread"]),
        (&json!("pair"), &json!(1), &json!(1), &json!(0))
    );
    assert_eq!(first["last"]["mid"], last["mid"]);
    for data in [
        json!({"limit": 0}),
        json!({"limit": 501}),
        json!({"limit": "5"}),
        json!({"after": 5}),
        json!([1]),
    ] {
        refused(&mut alice, 110, data, 400).await;
    }
    refused(&mut alice, 110, json!({"after": "nonsense"}), 404).await;
}

#[tokio::test]
async fn errors_of_the_store_are_reported_and_lose_nothing() {
    let (world, levers) = levers(|_| {});
    let mut alice = world.registered("alice", "a").await;
    let sent = say(&mut alice, "bob", 1).await;
    levers.full.store(true, std::sync::atomic::Ordering::Relaxed);
    refused(&mut alice, 106, json!({"conv": sent["conv"], "seq": 1}), 503).await;
    refused(&mut alice, 108, json!({"mid": sent["mid"]}), 503).await;
    levers.full.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(ask(&mut alice, 108, json!({"mid": sent["mid"]})).await["code"], 0);
}

#[tokio::test]
async fn a_page_waits_until_the_one_before_was_sent() {
    let world = World::new(|_| {});
    let mut alice = world.registered("alice", "a").await;
    let conv = conv(&say(&mut alice, "bob", 1).await);
    for (kind, data) in [(104, json!({"conv": conv, "after": 0})), (110, json!({}))] {
        alice.ear.room.forget_permits(Semaphore::MAX_PERMITS);
        let frame = json!({"type": kind, "data": data}).to_string();
        let waits = alice
            .begin("message", &[&json!(frame).to_string()], None)
            .unwrap();
        let waits = tokio::spawn(waits);
        // Pushes are not delayed by it.
        let order = order(5, To::Users(vec![uid("alice")]));
        world.gateway.send(order).await.unwrap();
        assert_eq!(alice.ear.frame().await["type"], 5);
        alice.ear.room.add_permits(1);
        waits.await.unwrap();
        assert_eq!(alice.ear.frame().await["type"], kind + 1);
    }
}
