//! Every kind is sent from end to end.

use mynah::To;
use mynah::ids::TeamId;
use mynah::kinds::{Conversation, Kind, Senders};
use serde_json::json;

use crate::client::{Client, Got, packet};
use crate::running::{Running, order, uid};

/// What the backend sends arrives at clients of both generations, for every kind that it may send.
#[tokio::test]
async fn the_backend_reaches_clients_with_every_kind() {
    let server = Running::new(|_| {}).await;
    let mut modern = server.registered("alice").await;
    let mut old = Client::connect(server.address, 3).await;
    old.register("bob", "b").await;
    let team = TeamId::new("t").unwrap();
    let members = vec![uid("alice"), uid("bob")];
    server
        .gateway
        .put_team(team.clone(), "T".into(), members)
        .await
        .unwrap();
    let users = || To::Users(vec![uid("alice"), uid("bob")]);
    for kind in Kind::ALL {
        let rule = kind.row().rule;
        if rule.senders == Senders::Gateway {
            continue;
        }
        let to = match rule.conversation {
            Conversation::Team => To::Team(team.clone()),
            _ => users(),
        };
        let data = json!({"kind": kind.number(), "text": "日本 😀 \u{2028}"});
        server
            .gateway
            .send(order(kind.number(), to, &data))
            .await
            .unwrap();
        for client in [&mut modern, &mut old] {
            let Got::Frame(frame, true) = client.next().await else {
                panic!("{kind:?} did not come as a string")
            };
            assert_eq!(frame["type"], kind.number());
            assert_eq!(frame["data"], data);
            for field in ["mid", "conv", "seq", "ts"] {
                assert!(!frame[field].is_null(), "{kind:?} has no {field}");
            }
        }
    }
}

/// What clients send to one another arrives, for every kind that they may send.
#[tokio::test]
async fn clients_reach_one_another_with_every_kind() {
    let server = Running::new(|_| {}).await;
    let mut alice = server.registered("alice").await;
    let mut bob = server.registered("bob").await;
    let team = TeamId::new("t").unwrap();
    let members = vec![uid("alice"), uid("bob")];
    server.gateway.put_team(team, "T".into(), members).await.unwrap();
    let mut convs = std::collections::BTreeSet::new();
    for kind in Kind::ALL {
        let to = match kind.row().rule.senders {
            Senders::Clients => json!({"user": "bob"}),
            Senders::Members => json!({"team": "t"}),
            Senders::Backend | Senders::Gateway => continue,
        };
        let number = kind.number();
        alice
            .send(&json!({"type": 101, "req": number, "data": {"type": number, "to": to, "cid": number.to_string(), "data": {"n": number}}}))
            .await;
        let response = alice.frame().await;
        assert_eq!(
            (&response["type"], &response["req"]),
            (&json!(102), &json!(number))
        );
        let push = bob.frame().await;
        assert_eq!((&push["type"], &push["from"]), (&json!(number), &json!("alice")));
        assert_eq!(push["mid"], response["data"]["mid"], "{response}");
        assert_eq!(push["cid"], number.to_string());
        convs.insert(push["conv"].to_string());
    }
    assert_eq!(
        convs.len(),
        5,
        "one for 3, 18 and 19, one each for 7, 8, 9, and the team's"
    );
}

/// Frames that arrive together are handled in order: those after the register are sent by a registered
/// client.
#[tokio::test]
async fn frames_that_arrive_together_are_handled_in_order() {
    let server = Running::new(|_| {}).await;
    let mut bob = server.registered("bob").await;
    let mut alice = server.connect().await;
    let mut packets = vec![packet(&json!({"type": 1, "data": {"uid": "alice"}}))];
    packets.extend((0..500).map(|index| {
        packet(&json!({"type": 101, "data": {"type": 3, "to": {"user": "bob"}, "data": {"n": index}}}))
    }));
    alice.texts(&packets).await;
    assert_eq!(alice.frame().await["type"], 2);
    for index in 0..500 {
        let push = bob.frame().await;
        assert_eq!(
            (&push["data"]["n"], &push["seq"]),
            (&json!(index), &json!(index + 1))
        );
        let response = alice.frame().await;
        assert_eq!(
            (&response["type"], &response["data"]["seq"]),
            (&json!(102), &json!(index + 1))
        );
    }
}

/// Integers beyond 2^53 and long decimals arrive with all their digits.
#[tokio::test]
async fn numbers_keep_all_their_digits() {
    let server = Running::new(|_| {}).await;
    let mut alice = server.registered("alice").await;
    let mut bob = server.connect().await;
    let answer = bob
        .ask(&json!({"type": 1, "data": {"uid": "bob", "format": "object"}}))
        .await;
    assert_eq!(answer["code"], 0);
    let data = r#"{"i":18446744073709551617,"d":0.1000000000000000055511151231257827,"e":1E400,"s":"\ud83d\ude00","z":-0}"#;
    alice
        .text(&format!(
            r#"42["message",{{"type":101,"data":{{"type":3,"to":{{"user":"bob"}},"data":{data}}}}}]"#
        ))
        .await;
    assert_eq!(alice.frame().await["data"]["code"], 0);
    let record = server.gateway.conversations(&uid("bob"), None, 10).await.unwrap();
    let last = record.conversations[0].last.as_ref().unwrap();
    assert_eq!(last.data.get(), data);
    let raw = bob.raw_message().await;
    assert!(raw.contains(data), "{raw}");
}
