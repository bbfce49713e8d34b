//! Requests while the store is busy or fails.

use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::sync::Semaphore;

use super::kit::{kinds, levers};
use crate::config::Displaced;
use crate::order::{Sent, To};
use crate::reject::Code;
use crate::session::Outlet;
use crate::testing::{order, uid};

const ALICE: &str = r#"{"type":1,"data":{"uid":"alice","deviceid":"d1"}}"#;

#[tokio::test]
async fn pushes_wait_for_the_response_and_none_is_lost() {
    let (world, levers) = levers(|_| {});
    levers.unread.forget_permits(Semaphore::MAX_PERMITS);
    let mut alice = world.connect("a");
    let waits = alice.begin("message", &[ALICE], None).unwrap();
    let sent = world
        .gateway
        .send(order(5, To::User(uid("alice"))))
        .await
        .unwrap();
    assert!(
        matches!(sent, Sent::Users { online: 1, .. }),
        "it is mapped already"
    );
    assert_eq!(alice.ear.rest(), []);
    levers.unread.add_permits(1);
    waits.await;
    world
        .gateway
        .send(order(6, To::User(uid("alice"))))
        .await
        .unwrap();
    assert_eq!(kinds(alice.ear.rest()), [2, 5, 6]);
}

#[tokio::test]
async fn a_close_before_the_response_leaves_no_registration() {
    let (world, levers) = levers(|_| {});
    levers.unread.forget_permits(Semaphore::MAX_PERMITS);
    let mut alice = world.connect("a");
    let waits = alice.begin("message", &[ALICE], None).unwrap();
    alice.close();
    levers.unread.add_permits(1);
    waits.await;
    assert_eq!(world.gateway.users_online(), 0);
}

#[tokio::test]
async fn a_request_is_cancelled_when_its_client_disconnects() {
    let (world, levers) = levers(|_| {});
    levers.unread.forget_permits(Semaphore::MAX_PERMITS);
    let mut alice = world.connect("a");
    let mut waits = tokio::spawn(alice.begin("message", &[ALICE], None).unwrap());
    let pending = tokio::time::timeout(std::time::Duration::from_millis(20), &mut waits).await;
    assert!(pending.is_err(), "it waits for the store");
    alice.ear.close_now(mynah_socketio::CloseReason::TransportClose);
    // This completes although the store gives no permit.
    waits.await.unwrap();
    assert_eq!(kinds(alice.ear.rest()), [json!("Cut")], "nobody is answered");
    alice.close();
    assert_eq!(world.gateway.users_online(), 0);
}

#[tokio::test]
async fn a_client_displaced_before_its_response_gets_it_before_kind_12() {
    for (displaced, expected) in [
        (Displaced::Close, vec![json!(2), json!(12), json!("Away")]),
        (Displaced::Notify, vec![json!(2), json!(12)]),
    ] {
        let (world, levers) = levers(|config| config.login.displaced = displaced);
        levers.unread.forget_permits(Semaphore::MAX_PERMITS);
        let mut first = world.connect("a");
        let waits = first.begin("message", &[ALICE], None).unwrap();
        let mut second = world.connect("b");
        let others = second
            .begin("message", &[&ALICE.replace("d1", "d2")], None)
            .unwrap();
        levers.unread.add_permits(2);
        waits.await;
        others.await;
        assert_eq!(second.ear.frame().await["data"]["code"], 0);
        assert_eq!(kinds(first.ear.rest()), expected);
        first.close();
        assert_eq!(world.gateway.users_online(), 1);
    }
}

#[tokio::test]
async fn a_full_disk_is_answered_503_until_there_is_space() {
    let (world, levers) = levers(|_| {});
    let mut alice = world.registered("alice", "a").await;
    let message = json!({"type": 3, "to": {"user": "bob"}, "cid": "c", "data": {}});
    levers.full.store(true, Ordering::Relaxed);
    let answer = alice.message(message.clone()).await;
    assert_eq!((&answer["code"], &answer["cid"]), (&json!(503), &json!("c")));
    assert!(!answer["error"].as_str().unwrap().contains("space"), "{answer}");
    let refused = world.gateway.send(order(5, To::User(uid("alice")))).await;
    assert_eq!(refused.unwrap_err().code, Code::Unavailable);
    let refused = world
        .gateway
        .put_team(crate::testing::team("t"), "T".into(), vec![])
        .await;
    assert_eq!(refused.unwrap_err().code, Code::Unavailable);
    assert!(world.gateway.ready().is_err());
    // Requests that do not write still succeed.
    let mut bob = world.connect("b");
    bob.register(json!({"uid": "bob"})).await;

    levers.full.store(false, Ordering::Relaxed);
    let answer = alice.message(message).await;
    assert_eq!((&answer["code"], &answer["seq"]), (&json!(0), &json!(1)));
    assert!(world.gateway.ready().is_ok());
}
