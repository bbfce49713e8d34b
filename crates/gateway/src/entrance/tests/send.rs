//! Frame 101, and messages of kinds that are not stored.

use serde_json::{Value, json};

use crate::config::{Conversation, KindRow, Policy};
use crate::kinds::{Conversation as Place, Kind, Senders};
use crate::order::{Sent, To};
use crate::reject::Code;
use crate::testing::{World, order, team, uid};

fn typing(number: u16, conversation: Conversation, stored: bool) -> KindRow {
    KindRow {
        number,
        name: format!("OWN_{number}"),
        conversation,
        stored,
        unread: false,
        push: false,
        clients: true,
    }
}

#[tokio::test]
async fn a_message_reaches_all_recipients_but_not_its_sender() {
    let world = World::new(|config| config.login.policy = Policy::Multi);
    let mut phone = world.registered("alice", "phone").await;
    let desk = world.registered("alice", "desk").await;
    let bob = world.registered("bob", "b").await;
    let answer = phone
        .message(
            json!({"type": 3, "to": {"user": "bob"}, "cid": "c1", "from": "eve",
            "data": {"big": 9_007_199_254_740_993_i64}}),
        )
        .await;
    assert_eq!(answer["code"], 0);
    assert_eq!((&answer["cid"], &answer["seq"]), (&json!("c1"), &json!(1)));
    assert!(answer.get("duplicate").is_none());
    for ear in [&desk.ear, &bob.ear] {
        let frame = ear.frame().await;
        assert_eq!(frame["type"], 3);
        assert_eq!(frame["from"], "alice", "the registered uid, whatever is claimed");
        assert_eq!(frame["data"]["big"], 9_007_199_254_740_993_i64);
        for field in ["mid", "conv", "seq", "ts", "cid"] {
            assert_eq!(frame[field], answer[field], "{field}");
        }
    }
    assert_eq!(phone.ear.rest(), []);

    let again = phone
        .message(json!({"type": 3, "to": {"user": "bob"}, "cid": "c1", "data": {"other": 1}}))
        .await;
    assert_eq!(again["duplicate"], true);
    assert_eq!(again["mid"], answer["mid"]);
    assert_eq!(bob.ear.rest(), []);
}

#[tokio::test]
async fn a_message_to_oneself_goes_once_to_the_other_devices() {
    let world = World::new(|config| config.login.policy = Policy::Multi);
    let mut phone = world.registered("alice", "phone").await;
    let desk = world.registered("alice", "desk").await;
    let answer = phone
        .message(json!({"type": 3, "to": {"user": "alice"}, "data": {}}))
        .await;
    assert_eq!(answer["code"], 0);
    assert_eq!(desk.ear.rest().len(), 1);
    assert_eq!(phone.ear.rest(), []);
}

#[tokio::test]
async fn clients_may_send_what_the_table_of_kinds_says() {
    let world = World::new(|_| {});
    world
        .gateway
        .put_team(team("t"), "T".into(), vec![uid("alice"), uid("bob")])
        .await
        .unwrap();
    let mut alice = world.registered("alice", "a").await;
    let mut eve = world.registered("eve", "e").await;
    for kind in Kind::ALL {
        let rule = kind.row().rule;
        let (right, wrong) = match rule.conversation {
            Place::Team => (json!({"team": "t"}), json!({"user": "bob"})),
            _ => (json!({"user": "bob"}), json!({"team": "t"})),
        };
        let frame = |to: &Value| json!({"type": kind.number(), "to": to, "data": {}});
        let codes = [
            alice.message(frame(&right)).await["code"].as_u64().unwrap(),
            alice.message(frame(&wrong)).await["code"].as_u64().unwrap(),
            eve.message(frame(&right)).await["code"].as_u64().unwrap(),
        ];
        let expected = match rule.senders {
            Senders::Clients => [0, 400, 0],
            Senders::Members => [0, 400, 403],
            Senders::Backend | Senders::Gateway => [403; 3],
        };
        assert_eq!(codes, expected, "{kind:?}");
    }
    for unknown in [0, 20, 99, 113, 1000, 65_536] {
        let answer = alice
            .message(json!({"type": unknown, "to": {"user": "bob"}, "data": {}}))
            .await;
        assert_eq!(answer["code"], 404, "{unknown}");
    }
    let answer = alice
        .message(json!({"type": 15, "to": {"team": "none"}, "data": {}}))
        .await;
    assert_eq!(answer["code"], 404);
}

#[tokio::test]
async fn errors_of_messages_say_what_is_wrong() {
    let world = World::new(|config| config.limits.message_bytes = 100);
    let mut alice = world.registered("alice", "a").await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10), "]".repeat(10));
    assert!(deep.len() < 100);
    let good = json!({"type": 3, "to": {"user": "bob"}, "data": {}});
    let with = |field: &str, value: Value| {
        let mut data = good.clone();
        data[field] = value;
        data
    };
    for (data, code, part) in [
        (json!([]), 400, "data"),
        (with("type", json!("3")), 400, "type"),
        (with("type", json!(3.5)), 400, "type"),
        (with("type", json!(-3)), 400, "type"),
        (with("to", json!(null)), 400, "to"),
        (with("to", json!("bob")), 400, "to"),
        (with("to", json!({})), 400, "to"),
        (with("to", json!({"user": 5.5})), 400, "to"),
        (with("to", json!({"user": true})), 400, "to"),
        (with("to", json!({"team": [5]})), 400, "to"),
        (with("to", json!({"user": "."})), 400, "to.user"),
        (with("to", json!({"team": ".."})), 400, "to.team"),
        (with("to", json!({"user": ""})), 400, "to"),
        (with("to", json!({"user": "a\u{0}"})), 400, "to"),
        (with("to", json!({"user": "x".repeat(200)})), 400, "to"),
        (with("to", json!({"user": "bob", "team": "t"})), 400, "to"),
        (with("to", json!({"users": ["bob"]})), 400, "to"),
        (with("to", json!({"everyone": true})), 400, "to"),
        (with("cid", json!(5)), 400, "cid"),
        (with("cid", json!("")), 400, "cid"),
        (with("cid", json!("x".repeat(65))), 400, "cid"),
        (json!({"type": 3, "to": {"user": "bob"}}), 400, "data"),
        (with("data", json!({"x": "y".repeat(100)})), 413, "data"),
        (with("data", json!("y".repeat(100))), 413, "data"),
    ] {
        let answer = alice.message(data.clone()).await;
        assert_eq!(answer["code"], code, "{data}: {answer}");
        assert!(
            answer["error"].as_str().unwrap().contains(part),
            "{data}: {answer}"
        );
    }
    let answer = alice.message(good).await;
    assert_eq!(
        (&answer["code"], &answer["seq"]),
        (&json!(0), &json!(1)),
        "nothing was stored before"
    );
}

/// Old clients write the ids of users and teams as numbers, in registers and in messages.
#[tokio::test]
async fn integers_are_accepted_as_users_and_teams() {
    let world = World::new(|_| {});
    let mut alice = world.registered("alice", "a").await;
    let bob = world.registered("42", "b").await;
    world
        .gateway
        .put_team(team("7"), "T".into(), vec![uid("alice"), uid("42")])
        .await
        .unwrap();
    for (kind, to) in [(3, json!({"user": 42})), (15, json!({"team": 7}))] {
        let answer = alice.message(json!({"type": kind, "to": to, "data": {}})).await;
        assert_eq!(answer["code"], 0, "{answer}");
    }
    for kind in [3, 15] {
        assert_eq!(bob.ear.frame().await["type"], kind);
    }
}

#[tokio::test]
async fn data_is_any_json_value() {
    let world = World::new(|config| config.kinds = vec![typing(1000, Conversation::None, false)]);
    let mut alice = world.registered("alice", "a").await;
    let bob = world.registered("bob", "b").await;
    for kind in [3, 1000] {
        for data in [
            json!(null),
            json!(false),
            json!(0),
            json!("text"),
            json!([]),
            json!([null, "二"]),
            json!({}),
        ] {
            let message = json!({"type": kind, "to": {"user": "bob"}, "data": data});
            assert_eq!(alice.message(message).await["code"], 0, "{kind} {data}");
            let frame = bob.ear.frame().await;
            assert_eq!((&frame["type"], &frame["data"]), (&json!(kind), &data));
            // A message with the payload null is not a recalled message.
            assert_eq!(frame.get("recalled"), None);
        }
    }
}

#[tokio::test]
async fn nesting_is_limited() {
    let world = World::new(|_| {});
    let mut alice = world.registered("alice", "a").await;
    for (open, close, levels, code) in [
        (r#"{"a":"#, "}", 128, 0),
        (r#"{"a":"#, "}", 129, 400),
        ("[", "]", 128, 0),
        ("[", "]", 129, 400),
        ("[", "]", 10_000, 400),
    ] {
        let data = format!("{}1{}", open.repeat(levels), close.repeat(levels));
        let frame = format!(r#"{{"type":101,"data":{{"type":3,"to":{{"user":"bob"}},"data":{data}}}}}"#);
        alice.event("message", &[&frame], Some(1)).await;
        let crate::testing::Said::Ack(1, answer) = alice.ear.next().await else {
            panic!("not answered")
        };
        assert_eq!(answer["code"], code, "{levels}");
    }
}

#[tokio::test]
async fn messages_that_are_not_stored_go_to_users_teams_and_everyone() {
    let world = World::new(|config| {
        config.login.policy = Policy::Multi;
        config.kinds = vec![
            typing(1000, Conversation::None, false),
            typing(1001, Conversation::Team, false),
            typing(1002, Conversation::Pair, true),
        ];
    });
    let gateway = &world.gateway;
    gateway
        .put_team(team("t"), "T".into(), vec![uid("alice"), uid("bob")])
        .await
        .unwrap();
    let mut alice = world.registered("alice", "a").await;
    let desk = world.registered("alice", "desk").await;
    let bob = world.registered("bob", "b").await;
    let mut eve = world.registered("eve", "e").await;
    for to in [json!({"user": "bob"}), json!({"team": "t"})] {
        let frame = json!({"type": 1000, "to": to, "cid": "c", "data": {"on": true}});
        let answer = alice.message(frame.clone()).await;
        assert_eq!(answer["delivered"], true);
        let keys: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["cid", "code", "delivered", "ts"]);
        for ear in [&bob.ear, &desk.ear] {
            let frame = ear.frame().await;
            let keys: Vec<_> = frame.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["data", "from", "ts", "type"]);
        }
        let code = eve.message(frame).await["code"].clone();
        assert_eq!(code, if to.get("team").is_some() { 403 } else { 0 });
        let _ = bob.ear.rest();
    }
    let answer = alice
        .message(json!({"type": 1001, "to": {"user": "nobody"}, "data": {}}))
        .await;
    assert_eq!(
        (&answer["code"], &answer["delivered"]),
        (&json!(0), &json!(false))
    );
    assert_eq!(desk.ear.rest().len(), 1, "the sender's other devices");
    assert!(
        alice
            .message(json!({"type": 1002, "to": {"user": "bob"}, "data": {}}))
            .await["seq"]
            .is_u64()
    );
    for ear in [&alice.ear, &desk.ear, &bob.ear, &eve.ear] {
        ear.rest();
    }

    let sent = gateway.send(order(1000, To::Everyone)).await.unwrap();
    assert_eq!(sent, Sent::Everyone { online: 3 }, "users, not connections");
    let sent = gateway.send(order(1000, To::Team(team("t")))).await.unwrap();
    assert_eq!(
        sent,
        Sent::Team {
            stored: None,
            online: 2,
            offline: 0
        }
    );
    let sent = gateway
        .send(order(1000, To::Users(vec![uid("eve"), uid("zoe")])))
        .await
        .unwrap();
    assert!(matches!(
        sent,
        Sent::Users {
            online: 1,
            offline: 1,
            ..
        }
    ));
    assert_eq!(eve.ear.rest().len(), 2);
    assert_eq!(desk.ear.rest().len(), 2);
    let refused = gateway.send(order(1000, To::Team(team("none")))).await;
    assert_eq!(refused.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn messages_of_one_connection_are_appended_in_order_without_waiting() {
    for limit in [1, 4, 256] {
        let world = World::new(|config| {
            config.limits.appends_in_flight = 2.max(limit / 2);
            config.limits.appends_in_flight_per_connection = limit;
        });
        let mut alice = world.registered("alice", "a").await;
        let bob = world.registered("bob", "b").await;
        for index in 0..300 {
            alice
                .send(&json!({"type": 101, "data": {"type": 3, "to": {"user": "bob"}, "data": {"n": index}}}))
                .await;
        }
        for index in 0..300 {
            let frame = bob.ear.frame().await;
            assert_eq!(
                (&frame["data"]["n"], &frame["seq"]),
                (&json!(index), &json!(index + 1))
            );
        }
    }
}
