//! Registers of clients that must prove who they are, and the expiry of their tokens.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::auth::NewToken;
use crate::clock::pretended::{Pretence, pretend};
use crate::config::{Config, Jwt, Mode, Secret};
use crate::ids::DeviceId;
use crate::order::To;
use crate::reject::Code;
use crate::testing::{Device, Said, World, order, uid};

const START: u64 = 1_790_000_000_000;

/// A gateway that requires tokens, with a time of day that the test sets.
struct Kit {
    world: World,
    jwt: Jwt,
    now: Rc<Cell<u64>>,
    _pretence: Pretence,
}

fn kit(change: impl FnOnce(&mut Config)) -> Kit {
    let now = Rc::new(Cell::new(START));
    let clock = now.clone();
    let pretence = pretend(move || clock.get());
    let jwt = Jwt {
        secret: Some(Secret::new("a secret of at least thirty-two bytes")),
        leeway_ms: 0,
        ..Jwt::default()
    };
    let world = World::new(|config| {
        config.auth.mode = Mode::Jwt;
        config.auth.jwt = jwt.clone();
        change(config);
    });
    Kit {
        world,
        jwt,
        now,
        _pretence: pretence,
    }
}

impl Kit {
    fn token_with(&self, user: &str, change: impl FnOnce(&mut NewToken)) -> String {
        let mut token = NewToken {
            uid: uid(user),
            device: None,
            platform: None,
            kinds: None,
            ttl: Duration::from_secs(100),
        };
        change(&mut token);
        token.sign(&self.jwt).unwrap()
    }

    fn token(&self, user: &str) -> String {
        self.token_with(user, |_| {})
    }

    async fn connections(&self, user: &str) -> Vec<String> {
        let view = self.world.gateway.user(&uid(user)).await.unwrap();
        view.connections
            .into_iter()
            .map(|connection| connection.sid)
            .collect()
    }
}

async fn register(device: &mut Device, data: Value) -> Value {
    device.ask(&json!({"type": 1, "data": data})).await
}

async fn code(device: &mut Device, data: Value) -> u64 {
    let answer = register(device, data).await;
    assert_eq!(answer["code"] == 0, answer.get("error").is_none(), "{answer}");
    answer["code"].as_u64().unwrap()
}

#[tokio::test]
async fn a_token_in_the_frame_decides_the_user() {
    let kit = kit(|_| {});
    let mut device = kit.world.connect("a");
    assert_eq!(
        register(&mut device, json!({"token": kit.token("alice")})).await["uid"],
        "alice"
    );
    assert_eq!(kit.connections("alice").await, ["a"]);
    // The same uid in addition is accepted, also as a number.
    let mut other = kit.world.connect("b");
    assert_eq!(
        register(&mut other, json!({"uid": 42, "token": kit.token("42")})).await["uid"],
        "42"
    );
}

#[tokio::test]
async fn without_a_valid_token_a_register_fails_and_changes_nothing() {
    let kit = kit(|_| {});
    let mut stranger = kit.world.connect("s");
    let mut device = kit.world.connect("a");
    register(&mut device, json!({"token": kit.token("alice")})).await;
    let expired = kit.token("alice");
    kit.now.set(START + 99_999);
    let good = kit.token("alice");
    let forged = NewToken {
        uid: uid("alice"),
        device: None,
        platform: None,
        kinds: None,
        ttl: Duration::from_secs(60),
    };
    let forged = forged
        .sign(&Jwt {
            secret: Some(Secret::new("another secret of thirty-two bytes")),
            ..Jwt::default()
        })
        .unwrap();
    kit.now.set(START + 100_000);
    for (data, expected) in [
        (json!({"uid": "alice"}), 401),
        (json!({}), 401),
        (json!({"uid": "alice", "token": null}), 401),
        (json!({"uid": "alice", "token": ""}), 401),
        (json!({"uid": "alice", "token": "x"}), 401),
        (json!({"uid": "alice", "token": 7}), 400),
        (json!({"uid": 1.5, "token": good}), 400),
        (json!({"token": forged}), 401),
        (json!({"token": expired}), 401),
        (json!({"uid": "bob", "token": good}), 403),
    ] {
        assert_eq!(code(&mut stranger, data.clone()).await, expected, "{data}");
        assert_eq!(code(&mut device, data.clone()).await, expected, "{data}");
    }
    assert_eq!(
        kit.connections("alice").await,
        ["a"],
        "its deadline has not been looked at yet"
    );
    let frame = json!({"type": 3, "to": {"user": "bob"}, "data": {}});
    assert_eq!(stranger.message(frame).await["code"], 401);
    assert_eq!(code(&mut stranger, json!({"token": good})).await, 0);
}

#[tokio::test]
async fn the_token_of_the_handshake_is_used_until_the_first_register() {
    let kit = kit(|_| {});
    let mut device = kit.world.connect_with("a", Some(&kit.token("alice")));
    assert_eq!(code(&mut device, json!({"uid": "bob"})).await, 403);
    assert_eq!(register(&mut device, json!({})).await["uid"], "alice");
    // It is registered now, so it can change its options without a token.
    assert_eq!(
        code(&mut device, json!({"uid": "alice", "format": "object"})).await,
        0
    );
    assert_eq!(code(&mut device, json!({"uid": "bob"})).await, 403);
    assert_eq!(code(&mut device, json!({"token": kit.token("bob")})).await, 0);
    assert_eq!(kit.connections("alice").await, Vec::<String>::new());
    assert_eq!(
        code(&mut device, json!({"uid": "alice"})).await,
        403,
        "the handshake's is forgotten"
    );

    let mut bad = kit.world.connect_with("b", Some("bad"));
    assert_eq!(code(&mut bad, json!({"uid": "alice"})).await, 401);
    assert_eq!(
        code(&mut bad, json!({"token": kit.token("alice")})).await,
        0,
        "the frame's counts"
    );
    let mut both = kit.world.connect_with("c", Some(&kit.token("alice")));
    assert_eq!(code(&mut both, json!({"token": "bad"})).await, 401);
    assert_eq!(code(&mut both, json!({})).await, 0);
}

#[tokio::test]
async fn a_token_may_be_for_one_device_and_one_platform() {
    let kit = kit(|_| {});
    let token = kit.token_with("alice", |token| {
        token.device = DeviceId::new("phone").ok();
        token.platform = Some("ios".into());
    });
    let mut device = kit.world.connect("a");
    for data in [
        json!({"token": token, "deviceid": "tablet"}),
        json!({"token": token, "platform": "web"}),
        json!({"token": token, "deviceid": "phone", "platform": "web"}),
    ] {
        assert_eq!(code(&mut device, data.clone()).await, 403, "{data}");
    }
    assert_eq!(
        register(&mut device, json!({"token": token})).await["deviceid"],
        "phone"
    );
    let view = kit.world.gateway.user(&uid("alice")).await.unwrap();
    assert_eq!(view.connections[0].platform.as_deref(), Some("ios"));
    assert_eq!(
        code(&mut device, json!({"deviceid": "tablet"})).await,
        403,
        "later neither"
    );
    assert_eq!(
        code(&mut device, json!({"deviceid": "phone", "platform": "ios"})).await,
        0
    );
}

#[tokio::test]
async fn a_token_may_limit_the_kinds_that_are_sent() {
    let kit = kit(|_| {});
    let mut device = kit.world.connect("a");
    let token = kit.token_with("alice", |token| token.kinds = Some(vec![3]));
    register(&mut device, json!({"token": token})).await;
    let sent = async |device: &mut Device, kind: u16| {
        let message = json!({"type": kind, "to": {"user": "bob"}, "cid": "c", "data": {}});
        let answer = device.message(message).await;
        assert_eq!(answer["cid"], "c");
        answer["code"].as_u64().unwrap()
    };
    assert_eq!(sent(&mut device, 3).await, 0);
    assert_eq!(sent(&mut device, 7).await, 403);
    assert_eq!(sent(&mut device, 999).await, 404, "there is none");
    register(&mut device, json!({"token": kit.token("alice")})).await;
    assert_eq!(sent(&mut device, 7).await, 0, "the new token has no such limit");
}

#[tokio::test]
async fn an_expired_connection_is_told_and_closed_to_reconnect() {
    let kit = kit(|_| {});
    let mut device = kit.world.connect("a");
    assert_eq!(device.deadline_ms(), None);
    register(&mut device, json!({"token": kit.token("alice")})).await;
    assert_eq!(
        device.deadline_ms(),
        Some(60_000),
        "the time of day is asked again until then"
    );
    kit.now.set(START + 60_000);
    device.deadline_passes();
    assert_eq!(device.ear.rest(), [], "not yet");
    assert_eq!(device.deadline_ms(), Some(40_000));
    kit.now.set(START + 100_000);
    assert_eq!(device.deadline_ms(), Some(0));
    device.deadline_passes();
    let Ok([Said::Frame(frame, _), Said::Back]) = <[Said; 2]>::try_from(device.ear.rest()) else {
        panic!("kind 2 and the end were due");
    };
    assert_eq!((&frame["type"], &frame["data"]["code"]), (&json!(2), &json!(401)));
    assert!(frame["data"]["error"].as_str().unwrap().contains("expired"));
    assert_eq!(kit.connections("alice").await, Vec::<String>::new());
    let sent = kit.world.gateway.send(order(5, To::User(uid("alice")))).await;
    assert!(sent.is_ok());
    assert_eq!(device.ear.rest(), [], "nothing comes any more");
    assert_eq!(device.deadline_ms(), None);
}

#[tokio::test]
async fn registering_with_a_new_token_renews() {
    let kit = kit(|_| {});
    let mut device = kit.world.connect("a");
    register(&mut device, json!({"token": kit.token("alice")})).await;
    kit.now.set(START + 90_000);
    assert_eq!(device.deadline_ms(), Some(10_000));
    register(&mut device, json!({"token": kit.token("alice")})).await;
    assert_eq!(device.deadline_ms(), Some(60_000));
    kit.now.set(START + 189_000);
    device.deadline_passes();
    assert_eq!(device.ear.rest(), []);
    assert_eq!(device.deadline_ms(), Some(1_000));
    // Without a token the old one remains in use until it expires.
    assert_eq!(code(&mut device, json!({"uid": "alice"})).await, 0);
    assert_eq!(device.deadline_ms(), Some(1_000));
    kit.now.set(START + 190_000);
    assert_eq!(code(&mut device, json!({"uid": "alice"})).await, 401);
}

#[tokio::test]
async fn expiry_follows_a_clock_that_is_set_in_both_directions() {
    let kit = kit(|_| {});
    let mut device = kit.world.connect("a");
    register(&mut device, json!({"token": kit.token("alice")})).await;
    // The clock is set back: the token is valid for longer, by the clock that new tokens are checked with.
    kit.now.set(START - 50_000);
    device.deadline_passes();
    assert_eq!((device.ear.rest(), device.deadline_ms()), (vec![], Some(60_000)));
    // The clock is set forward: this is noticed at the next deadline, at most a minute later.
    kit.now.set(START + 3_600_000);
    device.deadline_passes();
    assert_eq!(device.ear.rest().len(), 2);
}

#[tokio::test]
async fn a_token_authorises_the_sign_out_of_its_user() {
    let kit = kit(|config| config.login.policy = crate::config::Policy::Multi);
    let gateway = &kit.world.gateway;
    let mut devices = [kit.world.connect("a"), kit.world.connect("b")];
    for device in &mut devices {
        register(device, json!({"token": kit.token("alice")})).await;
    }
    for bad in ["", "x", &kit.token("alice")[1..]] {
        assert_eq!(
            gateway.sign_out_by_token(bad).await.unwrap_err().code,
            Code::Unauthenticated
        );
    }
    assert_eq!(gateway.sign_out_by_token(&kit.token("bob")).await, Ok(0));
    assert_eq!(gateway.sign_out_by_token(&kit.token("alice")).await, Ok(2));
    for device in devices {
        assert_eq!(device.ear.rest(), [Said::Away]);
    }
}

#[tokio::test]
async fn open_mode_ignores_tokens() {
    let world = World::new(|_| {});
    let mut device = world.connect_with("a", Some("bad"));
    assert_eq!(
        code(&mut device, json!({"uid": "alice", "token": "worse"})).await,
        0
    );
    assert_eq!(
        code(&mut device, json!({"token": "worse"})).await,
        400,
        "it needs a uid"
    );
    assert_eq!(device.deadline_ms(), None);
    let refused = world.gateway.sign_out_by_token("x").await.unwrap_err();
    assert_eq!(refused.code, Code::Forbidden);
}
