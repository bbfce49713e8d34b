//! The ways in which the server ends a connection, as a client sees them.

use mynah::To;
use mynah::config::Displaced;
use serde_json::json;

use crate::client::{Client, Got};
use crate::running::{Running, order, uid};

#[tokio::test]
async fn displaced_means_kind_12_then_41_then_closed() {
    let server = Running::new(|_| {}).await;
    for revision in [3, 4] {
        let mut first = Client::connect(server.address, revision).await;
        first.register("alice", "d1").await;
        let mut second = server.connect().await;
        second.register("alice", "d2").await;
        let frame = first.frame().await;
        assert_eq!(
            (&frame["type"], &frame["data"]["deviceid"]),
            (&json!(12), &json!("d2"))
        );
        assert_eq!(first.next().await, Got::Disconnect);
        assert_eq!(first.next().await, Got::Closed);
        server.gateway.sign_out(&uid("alice")).await;
    }
}

#[tokio::test]
async fn signed_out_means_41_then_closed() {
    let server = Running::new(|_| {}).await;
    let mut alice = server.registered("alice").await;
    let mut bob = server.registered("bob").await;
    assert_eq!(server.gateway.sign_out(&uid("alice")).await, 1);
    assert_eq!(alice.next().await, Got::Disconnect);
    assert_eq!(alice.next().await, Got::Closed);
    server
        .gateway
        .send(order(5, To::Everyone, &json!({})))
        .await
        .unwrap();
    assert_eq!(bob.frame().await["type"], 5);
}

#[tokio::test]
async fn the_same_device_reconnecting_closes_the_stale_connection_without_41() {
    let server = Running::new(|_| {}).await;
    let mut stale = server.registered("alice").await;
    let mut back = server.registered("alice").await;
    assert_eq!(stale.next().await, Got::Closed);
    server
        .gateway
        .send(order(5, To::User(uid("alice")), &json!({})))
        .await
        .unwrap();
    assert_eq!(back.frame().await["type"], 5);
}

#[tokio::test]
async fn notify_leaves_the_displaced_connection_open() {
    let server = Running::new(|config| config.login.displaced = Displaced::Notify).await;
    let mut first = server.registered("alice").await;
    let mut second = server.connect().await;
    second.register("alice", "other").await;
    assert_eq!(first.frame().await["type"], 12);
    let answer = first.ask(&json!({"type": 101, "data": {}})).await;
    assert_eq!(answer["code"], 401);
    first.register("alice", "alice-1").await;
    assert_eq!(second.frame().await["type"], 12);
}

/// When the server stops, clients are expected to reconnect: connections are closed without `41`.
#[tokio::test]
async fn clients_are_expected_to_reconnect_after_a_stop() {
    let server = Running::new(|_| {}).await;
    let mut alice = server.registered("alice").await;
    let last = async move { alice.next().await };
    let ((), last) = tokio::join!(server.stop(), last);
    assert_eq!(last, Got::Closed);
}
