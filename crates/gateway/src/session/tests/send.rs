//! Sending: frame 101, orders of the API, teams, kinds that are not stored.

use serde_json::{Value, json};

use crate::config::{Conversation, KindRow, Policy};
use crate::ids::Cid;
use crate::kinds::{Conversation as Place, Kind, Senders};
use crate::order::{SendOrder, Sent, To, UserResult};
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

fn results(sent: Sent) -> Vec<UserResult> {
    match sent {
        Sent::Users { results, .. } => results,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_message_reaches_everybody_it_is_for_and_not_its_sender() {
    let world = World::new(|config| config.login.policy = Policy::Multi);
    let mut phone = world.enter("alice", "phone").await;
    let desk = world.enter("alice", "desk").await;
    let bob = world.enter("bob", "b").await;
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
async fn writing_to_oneself_goes_once_to_the_other_devices() {
    let world = World::new(|config| config.login.policy = Policy::Multi);
    let mut phone = world.enter("alice", "phone").await;
    let desk = world.enter("alice", "desk").await;
    let answer = phone
        .message(json!({"type": 3, "to": {"user": "alice"}, "data": {}}))
        .await;
    assert_eq!(answer["code"], 0);
    assert_eq!(desk.ear.rest().len(), 1);
    assert_eq!(phone.ear.rest(), []);
}

#[tokio::test]
async fn clients_send_what_the_table_lets_them() {
    let world = World::new(|_| {});
    world
        .gateway
        .put_team(team("t"), "T".into(), vec![uid("alice"), uid("bob")])
        .await
        .unwrap();
    let mut alice = world.enter("alice", "a").await;
    let mut eve = world.enter("eve", "e").await;
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
async fn whatever_is_wrong_with_a_message_is_said() {
    let world = World::new(|config| config.limits.message_bytes = 100);
    let mut alice = world.enter("alice", "a").await;
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
        (with("to", json!({"user": 5})), 400, "to"),
        (with("to", json!({"user": ""})), 400, "to"),
        (with("to", json!({"user": "a\u{0}"})), 400, "to"),
        (with("to", json!({"user": "x".repeat(200)})), 400, "to"),
        (with("to", json!({"user": "bob", "team": "t"})), 400, "to"),
        (with("to", json!({"users": ["bob"]})), 400, "to"),
        (with("to", json!({"everyone": true})), 400, "to"),
        (with("cid", json!(5)), 400, "cid"),
        (with("cid", json!("")), 400, "cid"),
        (with("cid", json!("x".repeat(65))), 400, "cid"),
        (with("data", json!(null)), 400, "data"),
        (with("data", json!("text")), 400, "data"),
        (with("data", json!([1])), 400, "data"),
        (with("data", json!({"x": "y".repeat(100)})), 413, "data"),
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

#[tokio::test]
async fn nesting_is_bounded() {
    let world = World::new(|_| {});
    let mut alice = world.enter("alice", "a").await;
    for (levels, code) in [(128, 0), (129, 400), (10_000, 400)] {
        let data = format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let frame = format!(r#"{{"type":101,"data":{{"type":3,"to":{{"user":"bob"}},"data":{data}}}}}"#);
        alice.event("message", &[&frame], Some(1)).await;
        let crate::testing::Said::Ack(1, answer) = alice.ear.next().await else {
            panic!("not answered")
        };
        assert_eq!(answer["code"], code, "{levels}");
    }
}

#[tokio::test]
async fn the_backend_sends_what_the_table_lets_it() {
    let world = World::new(|_| {});
    world
        .gateway
        .put_team(team("t"), "T".into(), vec![uid("alice")])
        .await
        .unwrap();
    for number in (0..130).chain([999, 1000, 9999, 65_535]) {
        let rule = Kind::from_number(number).map(|kind| kind.row().rule);
        let expected = match rule {
            _ if (100..=999).contains(&number) => Err(Code::Malformed),
            None => Err(Code::NotFound),
            Some(rule) if rule.senders == Senders::Gateway => Err(Code::Malformed),
            Some(rule) => Ok(rule),
        };
        let to_user = world.gateway.send(order(number, To::User(uid("bob")))).await;
        let to_team = world.gateway.send(order(number, To::Team(team("t")))).await;
        let to_all = world.gateway.send(order(number, To::Everyone)).await;
        match expected {
            Err(code) => {
                for refused in [to_user, to_team, to_all] {
                    assert_eq!(refused.unwrap_err().code, code, "{number}");
                }
            }
            Ok(rule) if rule.conversation == Place::Team => {
                assert_eq!(to_user.unwrap_err().code, Code::Malformed, "{number}");
                assert!(matches!(to_team.unwrap(), Sent::Team { stored: Some(_), .. }));
                assert_eq!(to_all.unwrap_err().code, Code::Malformed, "{number}");
            }
            Ok(_) => {
                assert!(results(to_user.unwrap())[0].stored.is_some(), "{number}");
                assert_eq!(to_team.unwrap_err().code, Code::Malformed, "{number}");
                assert_eq!(to_all.unwrap(), Sent::Everyone { online: 0 });
            }
        }
    }
}

#[tokio::test]
async fn many_users_get_one_each_and_the_results_are_in_order() {
    let world = World::new(|config| config.limits.uids_per_call = 4);
    let bob = world.enter("bob", "b").await;
    let users = |names: &[&str]| To::Users(names.iter().copied().map(uid).collect());
    let sent = world
        .gateway
        .send(order(6, users(&["zoe", "bob", "amy", "bob"])))
        .await
        .unwrap();
    let Sent::Users {
        results,
        online,
        offline,
    } = sent
    else {
        panic!()
    };
    let seen: Vec<_> = results
        .iter()
        .map(|result| (result.uid.as_str(), result.delivered))
        .collect();
    assert_eq!(seen, [("zoe", false), ("bob", true), ("amy", false)]);
    assert_eq!((online, offline), (1, 2));
    let convs: std::collections::HashSet<_> = results
        .iter()
        .map(|result| result.stored.unwrap().conv.to_string())
        .collect();
    assert_eq!(convs.len(), 3);
    assert_eq!(bob.ear.rest().len(), 1);

    let refused = world
        .gateway
        .send(order(6, users(&["1", "2", "3", "4", "5"])))
        .await;
    assert_eq!(refused.unwrap_err().code, Code::TooLarge);
    let refused = world.gateway.send(order(6, users(&[]))).await;
    assert_eq!(refused.unwrap_err().code, Code::Malformed);
}

#[tokio::test]
async fn a_batch_larger_than_the_bound_in_flight_is_answered_in_order() {
    let world = World::new(|config| config.limits.appends_in_flight = 3);
    let orders = (0..10).map(|index| match index {
        4 => Err(crate::Reject::malformed("was wrong before.")),
        5 => Ok(order(4711, To::User(uid("u")))),
        6 => Ok(order(5, To::Users(vec![uid("u"), uid("v")]))),
        _ => Ok(order(5, To::User(uid("u")))),
    });
    let sent = world.gateway.send_batch(orders.collect()).await;
    let mut seqs = Vec::new();
    for (index, result) in sent.into_iter().enumerate() {
        match result {
            Ok(sent) => seqs.push(results(sent)[0].stored.unwrap().seq.0),
            Err(reject) => assert!(index == 4 || index == 5, "{reject}"),
        }
    }
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn the_sender_named_by_the_backend_sees_it_too() {
    let world = World::new(|_| {});
    let alice = world.enter("alice", "a").await;
    let bob = world.enter("bob", "b").await;
    let from = |kind, to| SendOrder {
        from: Some(uid("alice")),
        ..order(kind, to)
    };
    let send = |order| world.gateway.send(order);
    send(from(3, To::User(uid("bob")))).await.unwrap();
    assert_eq!(alice.ear.frame().await["from"], "alice");
    assert_eq!(bob.ear.frame().await["from"], "alice");
    send(from(5, To::User(uid("bob")))).await.unwrap();
    assert_eq!(bob.ear.frame().await["from"], "alice");
    assert_eq!(alice.ear.rest(), [], "not of notices");
    send(order(3, To::User(uid("bob")))).await.unwrap();
    assert_eq!(bob.ear.frame().await["from"], "system");
    send(order(5, To::User(uid("bob")))).await.unwrap();
    assert_eq!(bob.ear.frame().await.get("from"), None);
    let cid = || Some(Cid::new("c").unwrap());
    let first = send(SendOrder {
        cid: cid(),
        ..order(3, To::User(uid("bob")))
    })
    .await
    .unwrap();
    let again = send(SendOrder {
        cid: cid(),
        ..order(3, To::User(uid("bob")))
    })
    .await
    .unwrap();
    let (first, again) = (
        results(first)[0].stored.unwrap(),
        results(again)[0].stored.unwrap(),
    );
    assert_eq!(
        (first.mid, first.duplicate, again.duplicate),
        (again.mid, false, true)
    );
}

#[tokio::test]
async fn teams_tell_their_members() {
    let world = World::new(|_| {});
    let alice = world.enter("alice", "a").await;
    let bob = world.enter("bob", "b").await;
    let gateway = &world.gateway;
    gateway
        .put_team(team("t"), "T".into(), vec![uid("alice")])
        .await
        .unwrap();
    assert_eq!(alice.ear.rest(), [], "creating sends nothing");

    let added = gateway.add_members(team("t"), vec![uid("bob")]).await.unwrap();
    for ear in [&alice.ear, &bob.ear] {
        let frame = ear.frame().await;
        assert_eq!(
            (&frame["type"], &frame["data"]),
            (&json!(16), &json!({"team": "t", "uid": "bob"}))
        );
        assert_eq!(frame["conv"], added.conv.to_string());
    }
    let sent = gateway.send(order(15, To::Team(team("t")))).await.unwrap();
    assert!(
        matches!(
            sent,
            Sent::Team {
                online: 2,
                offline: 0,
                ..
            }
        ),
        "{sent:?}"
    );
    assert_eq!(alice.ear.frame().await["seq"], 2);
    assert_eq!(bob.ear.frame().await["seq"], 2);

    gateway.remove_members(team("t"), vec![uid("bob")]).await.unwrap();
    assert_eq!(alice.ear.frame().await["type"], 17);
    assert_eq!(bob.ear.frame().await["type"], 17);
    gateway.send(order(15, To::Team(team("t")))).await.unwrap();
    assert_eq!(alice.ear.frame().await["seq"], 4);
    assert_eq!(bob.ear.rest(), [], "and then nothing more");

    gateway
        .put_team(team("t"), "T".into(), vec![uid("bob"), uid("cat"), uid("dog")])
        .await
        .unwrap();
    assert_eq!(bob.ear.rest().len(), 4, "three came, one left");
    assert_eq!(alice.ear.rest().len(), 1, "its own leaving");
    gateway.delete_team(team("t")).await.unwrap();
    assert_eq!(gateway.team(&team("t")).await.unwrap_err().code, Code::NotFound);
    assert_eq!(
        gateway.delete_team(team("t")).await.unwrap_err().code,
        Code::NotFound
    );
}

#[tokio::test]
async fn what_is_not_stored_goes_to_users_teams_and_everyone() {
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
    let mut alice = world.enter("alice", "a").await;
    let desk = world.enter("alice", "desk").await;
    let bob = world.enter("bob", "b").await;
    let mut eve = world.enter("eve", "e").await;
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
async fn a_kind_registered_at_run_time_can_be_sent() {
    let world = World::new(|_| {});
    let mut alice = world.enter("alice", "a").await;
    assert_eq!(
        world
            .gateway
            .send_to(&uid("alice"), 1000, &json!({}))
            .await
            .unwrap_err()
            .code,
        Code::NotFound
    );
    world
        .gateway
        .register_type(1000, |_| crate::Reply::Nothing)
        .unwrap();
    assert!(
        world
            .gateway
            .send_to(&uid("alice"), 1000, &json!({"a": 1}))
            .await
            .unwrap()
    );
    assert!(
        !world
            .gateway
            .send_to(&uid("zoe"), 1000, &json!({}))
            .await
            .unwrap()
    );
    let frame = alice.ear.frame().await;
    assert_eq!((&frame["type"], &frame["data"]), (&json!(1000), &json!({"a": 1})));
    let answer = alice
        .message(json!({"type": 1000, "to": {"user": "bob"}, "data": {}}))
        .await;
    assert_eq!(answer["code"], 403);
}

#[tokio::test]
async fn messages_of_one_connection_are_appended_in_order_without_waiting() {
    for limit in [1, 4, 256] {
        let world = World::new(|config| {
            config.limits.appends_in_flight = 2.max(limit / 2);
            config.limits.appends_in_flight_per_connection = limit;
        });
        let mut alice = world.enter("alice", "a").await;
        let bob = world.enter("bob", "b").await;
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
