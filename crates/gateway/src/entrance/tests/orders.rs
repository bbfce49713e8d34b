//! Messages and team changes of the backend.

use serde_json::json;

use crate::ids::Cid;
use crate::kinds::{Conversation as Place, Kind, Senders};
use crate::order::{SendOrder, Sent, To, UserResult};
use crate::reject::Code;
use crate::testing::{World, order, team, uid};

fn results(sent: Sent) -> Vec<UserResult> {
    match sent {
        Sent::Users { results, .. } => results,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_backend_may_send_what_the_table_of_kinds_says() {
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
async fn many_users_get_one_message_each_and_results_are_in_order() {
    let world = World::new(|config| config.limits.uids_per_call = 4);
    let bob = world.registered("bob", "b").await;
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
async fn a_batch_larger_than_the_limit_in_flight_is_answered_in_order() {
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
async fn the_sender_that_the_backend_names_receives_the_message() {
    let world = World::new(|_| {});
    let alice = world.registered("alice", "a").await;
    let bob = world.registered("bob", "b").await;
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
async fn members_are_told_of_changes_of_their_team() {
    let world = World::new(|_| {});
    let alice = world.registered("alice", "a").await;
    let bob = world.registered("bob", "b").await;
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
async fn a_kind_added_at_run_time_can_be_sent() {
    let world = World::new(|_| {});
    let mut alice = world.registered("alice", "a").await;
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
    for data in [json!("text"), json!([1, 2]), json!(null)] {
        world.gateway.send_to(&uid("alice"), 1000, &data).await.unwrap();
        assert_eq!(alice.ear.frame().await["data"], data);
    }
    let answer = alice
        .message(json!({"type": 1000, "to": {"user": "bob"}, "data": {}}))
        .await;
    assert_eq!(answer["code"], 403);
}
