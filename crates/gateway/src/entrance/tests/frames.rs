//! Valid and invalid frames of all sorts.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::config::Policy;
use crate::embed::{Reply, Seen};
use crate::frame::Format;
use crate::kinds::{Kind, Way};
use crate::testing::{Said, World};

#[tokio::test]
async fn only_requests_are_answered() {
    let world = World::new(|_| {});
    let mut device = world.registered("alice", "a").await;
    for (argument, code) in [
        (r#""hello""#, 400),
        (r#""""#, 400),
        (r#""{\"type\":101""#, 400),
        (r#""\ud800""#, 400),
        ("5", 400),
        ("null", 400),
        ("[1,2]", 400),
        ("{}", 400),
        (r#"{"type":"101"}"#, 400),
        (r#"{"type":4711}"#, 404),
        (r#"{"type":20}"#, 404),
        (r#"{"type":70000}"#, 404),
        (r#"{"type":3,"data":{}}"#, 404),
        (r#"{"type":12}"#, 404),
        (r#"{"type":1000}"#, 404),
        (r#"{"type":101}"#, 400),
        (r#"{"type":1}"#, 400),
    ] {
        device.event("message", &[argument], Some(9)).await;
        let Said::Ack(9, answer) = device.ear.next().await else {
            panic!("{argument} was not answered")
        };
        assert_eq!(answer["code"], code, "{argument}: {answer}");
        assert!(
            answer["error"].as_str().is_some_and(|error| error.ends_with('.')),
            "{answer}"
        );
        device.event("message", &[argument], None).await;
        let has_response = argument.contains("\"type\":101}") || argument.contains("\"type\":1}");
        assert_eq!(device.ear.rest().len(), usize::from(has_response), "{argument}");
    }
    device.event("message", &[], Some(9)).await;
    device.event("other", &["1"], Some(9)).await;
    device.event("other", &["1"], None).await;
    let codes: Vec<_> = device.ear.rest().into_iter().map(code).collect();
    assert_eq!(codes, [400, 404]);
}

fn code(said: Said) -> u64 {
    match said {
        Said::Ack(_, answer) => answer["code"].as_u64().unwrap(),
        Said::Frame(frame, _) => frame["data"]["code"].as_u64().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn req_is_repeated_in_a_frame_of_the_response_kind() {
    let world = World::new(|_| {});
    let mut device = world.connect("a");
    for (frame, kind, code) in [
        (json!({"type": 101, "req": "r1", "data": {}}), 102, 401),
        (json!({"type": 1, "req": 2, "data": {}}), 2, 400),
        (json!({"type": 104, "req": 2, "data": {}}), 105, 401),
        (json!({"type": 110, "req": 2}), 111, 401),
        (json!({"type": 103, "req": 3, "data": {}}), 100, 401),
        (json!({"type": 5000, "req": 4}), 100, 404),
        (json!({"req": 5, "type": "x"}), 100, 400),
    ] {
        device.send(&frame).await;
        let answer = device.ear.frame().await;
        assert_eq!(answer["type"], kind, "{frame}");
        assert_eq!(answer["req"], frame["req"]);
        assert_eq!(answer["data"]["code"], code, "{frame}: {answer}");
    }
}

/// Clients send every kind without data. Only requests have an effect.
#[tokio::test]
async fn every_kind_from_a_client_has_its_response() {
    let world = World::new(|_| {});
    let mut device = world.registered("alice", "a").await;
    for kind in Kind::ALL {
        let answer = device.ask(&json!({"type": kind.number(), "data": {}})).await;
        let expected = match kind {
            Kind::ConversationsReq => 0,
            kind if kind.row().way == Way::Up => 400,
            _ => 404,
        };
        assert_eq!(answer["code"], expected, "{kind:?}: {answer}");
    }
}

#[tokio::test]
async fn requests_beyond_the_rate_are_answered_429() {
    let world = World::new(|config| {
        config.limits.frames_per_second = 1;
        config.limits.frames_burst = 3;
    });
    let mut device = world.registered("alice", "a").await;
    for _ in 0..3 {
        device.event("message", &[r#"{"type":7777}"#], None).await;
    }
    assert_eq!(device.ear.rest(), []);
    for (frame, kind) in [
        (json!({"type": 1, "data": {"uid": "alice"}}), 2),
        (json!({"type": 101, "data": {}}), 102),
        (json!({"type": 9999, "req": 1}), 100),
    ] {
        device.send(&frame).await;
        let answer = device.ear.frame().await;
        assert_eq!(
            (&answer["type"], &answer["data"]["code"]),
            (&json!(kind), &json!(429))
        );
    }
    device.event("message", &[r#""no frame""#], Some(1)).await;
    device.event("other", &[], Some(1)).await;
    device.event("message", &[r#"{"type":9999}"#], None).await;
    assert_eq!(
        device.ear.rest().into_iter().map(code).collect::<Vec<_>>(),
        [429, 429]
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_slow_down_is_disconnected() {
    let world = World::new(|config| {
        config.limits.frames_per_second = 1;
        config.limits.frames_burst = 3;
        config.limits.refused_burst = 4;
    });
    let mut device = world.connect("a");
    let mut answers = Vec::new();
    for _ in 0..7 {
        answers.push(device.ask(&json!({"type": 7777})).await["code"].clone());
    }
    assert_eq!(answers, [404, 404, 404, 429, 429, 429, 429]);
    device.send(&json!({"type": 7777})).await;
    assert_eq!(device.ear.rest(), [Said::Cut]);
    let metrics = world.metrics().prometheus_text();
    assert!(
        metrics.contains("mynah_limited_total{limit=\"refused_burst\"} 1\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn messages_of_a_user_are_limited_over_all_connections() {
    let world = World::new(|config| {
        config.login.policy = Policy::Multi;
        config.limits.user_messages_per_second = 1;
        config.limits.user_messages_burst = 2;
    });
    let mut devices = [
        world.registered("alice", "a").await,
        world.registered("alice", "b").await,
    ];
    let message = |cid: &str| json!({"type": 3, "to": {"user": "bob"}, "cid": cid, "data": {}});
    let mut accepted = 0;
    // At most one more for each second that this takes.
    let refused = loop {
        let answer = devices[accepted % 2]
            .message(message(&accepted.to_string()))
            .await;
        if answer["code"] != 0 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 1_000, "nothing was refused");
    };
    assert!(accepted >= 2);
    let cid = accepted.to_string();
    assert_eq!((&refused["code"], &refused["cid"]), (&json!(429), &json!(cid)));
    assert_eq!(
        world.registered("bob", "c").await.message(message(&cid)).await["code"],
        0
    );
}

#[tokio::test]
async fn listeners_can_be_added_and_removed_at_run_time() {
    let world = World::new(|_| {});
    let mut device = world.connect("a");
    let echo = |call: crate::embed::Call| match call.data.get() {
        "null" => Reply::Nothing,
        "1" => Reply::object(&[1]),
        _ => Reply::later(async move {
            let data: Value = serde_json::from_str(call.data.get()).unwrap();
            Reply::object(&json!({"from": call.uid, "echo": data}))
        }),
    };
    world.gateway.register_type(1000, echo).unwrap();
    for taken in [0, 1, 19, 101, 999, 10_000] {
        assert!(world.gateway.register_type(taken, echo).is_err(), "{taken}");
    }

    let frame = json!({"type": 1000, "data": {"n": 1}});
    assert_eq!(device.ask(&frame).await["code"], 401);
    device.register(json!({"uid": "alice"})).await;
    let expected = json!({"from": "alice", "echo": {"n": 1}});
    assert_eq!(device.ask(&frame).await, expected);
    device.send(&frame).await;
    assert_eq!(device.ear.frame().await, json!({"type": 1000, "data": expected}));
    device
        .send(&json!({"type": 1000, "req": 7, "data": {"n": 1}}))
        .await;
    assert_eq!(
        device.ear.frame().await,
        json!({"type": 100, "req": 7, "data": expected})
    );
    assert_eq!(device.ask(&json!({"type": 1000})).await, json!({"code": 0}));
    assert_eq!(device.ask(&json!({"type": 1000, "data": 1})).await["code"], 500);

    assert!(world.gateway.unregister_type(1000));
    assert!(!world.gateway.unregister_type(1000));
    assert_eq!(device.ask(&frame).await["code"], 404);
}

#[tokio::test]
async fn listeners_are_told_of_all_events() {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let say = |to: &Arc<Mutex<Vec<String>>>| {
        let to = to.clone();
        move |text: String| to.lock().push(text)
    };
    let (connect, data, close) = (say(&heard), say(&heard), say(&heard));
    let world = World::built(
        |_| {},
        |builder| {
            builder
                .on_connect(move |peer| connect(format!("connect {}", peer.sid)))
                .on_data(move |_, seen| match seen {
                    Seen::Frame { kind, .. } => data(format!("frame {kind}")),
                    Seen::Raw(text) => data(format!("raw {text}")),
                })
                .on_close(move |peer, why| close(format!("close {:?} {why}", peer.uid)))
        },
        |store| store,
    );
    let mut device = world.registered("alice", "a").await;
    for argument in [r#""hello""#, r#""{\"type\":4711}""#, r#"{"type":101}"#, "5"] {
        device.event("message", &[argument], None).await;
    }
    device.close();
    assert_eq!(
        *heard.lock(),
        [
            "connect a",
            "frame 1",
            "raw hello",
            r#"raw {"type":4711}"#,
            "frame 101",
            "raw 5",
            r#"close Some("alice") client namespace disconnect"#,
        ]
    );
}

#[tokio::test]
async fn frames_have_the_requested_format() {
    let world = World::new(|_| {});
    let mut device = world.connect("a");
    let form = |said: Said| match said {
        Said::Frame(frame, format) => (frame["type"].as_u64().unwrap(), format),
        other => panic!("{other:?}"),
    };
    device.send(&json!({"type": 1, "data": {"uid": "a"}})).await;
    assert_eq!(form(device.ear.next().await), (2, Format::String));
    device
        .send(&json!({"type": 1, "data": {"uid": "a", "format": "object"}}))
        .await;
    assert_eq!(form(device.ear.next().await), (2, Format::Object));
    world
        .gateway
        .send_to(&crate::testing::uid("a"), 5, &json!({}))
        .await
        .unwrap();
    assert_eq!(form(device.ear.next().await), (5, Format::Object));
    // Registering again as the same user keeps the fields that are missing. Registering as another user
    // resets them.
    device.send(&json!({"type": 1, "data": {"uid": "a"}})).await;
    assert_eq!(form(device.ear.next().await), (2, Format::Object));
    device.send(&json!({"type": 1, "data": {"uid": "b"}})).await;
    assert_eq!(form(device.ear.next().await), (2, Format::String));
}
