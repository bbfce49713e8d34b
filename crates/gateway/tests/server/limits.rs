//! Limits, and clients that send invalid input.

use mynah::To;
use serde_json::json;

use crate::client::{Client, Got};
use crate::running::{Running, order, uid};

/// A client that does not read is disconnected, and the others receive everything.
#[tokio::test]
async fn a_slow_reader_is_disconnected_and_delays_nobody() {
    let server = Running::new(|config| config.limits.queue_bytes = 65_536).await;
    let mut slow = server.registered("slow").await;
    let mut quick = server.registered("quick").await;
    let both = || To::Users(vec![uid("slow"), uid("quick")]);
    let data = json!({"text": "x".repeat(60_000)});
    let mut sent = 0;
    while !server.gateway.online(&[uid("slow")]).await.is_empty() {
        server.gateway.send(order(5, both(), &data)).await.unwrap();
        sent += 1;
        assert_eq!(quick.frame().await["seq"], sent);
        assert!(sent < 10_000, "never closed");
    }
    while let Got::Frame(..) = slow.next().await {}
    // The client reconnects, and finds what it missed in the history.
    let mut back = Client::connect(server.address, 4).await;
    assert_eq!(back.register("slow", "slow-1").await["unread"], sent);
}

#[tokio::test]
async fn a_hundred_registers_of_one_user_leave_one_connection() {
    let server = Running::new(|_| {}).await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..100 {
        let address = server.address;
        tasks.spawn(async move {
            let mut client = Client::connect(address, 4).await;
            let data = json!({"uid": "alice", "deviceid": format!("d{index}")});
            client.send(&json!({"type": 1, "data": data})).await;
            // Kind 2, or kind 12 if another register was faster.
            client.frame().await;
            client
        });
    }
    let clients = tasks.join_all().await;
    let user = server.gateway.user(&uid("alice")).await.unwrap();
    assert_eq!(user.connections.len(), 1);
    server
        .gateway
        .send(order(5, To::User(uid("alice")), &json!({})))
        .await
        .unwrap();
    let mut reached = 0;
    for mut client in clients {
        reached += loop {
            match client.next().await {
                Got::Disconnect | Got::Closed => break 0,
                Got::Frame(frame, _) if frame["type"] == 5 => break 1,
                _ => {}
            }
        };
    }
    assert_eq!(reached, 1);
}

/// A close directly after a register leaves no registration, whichever is handled first.
#[tokio::test]
async fn a_close_during_a_register_leaves_no_registration() {
    let server = Running::new(|_| {}).await;
    for _ in 0..50 {
        let mut client = server.connect().await;
        client.send(&json!({"type": 1, "data": {"uid": "ghost"}})).await;
        drop(client);
    }
    // `other` sees the number of users drop as soon as the other connections are closed.
    let mut other = server.registered("other").await;
    while server.gateway.users_online() > 1 {
        other.ask(&json!({"type": 103, "data": {}})).await;
    }
}

#[tokio::test]
async fn invalid_input_does_not_affect_others() {
    let server = Running::new(|_| {}).await;
    let mut good = server.registered("good").await;
    for packets in [
        // Eleven attachments, an unknown packet, and malformed events: the connection is closed.
        vec![r#"4511-["message",{"_placeholder":true,"num":0}]"#.to_owned()],
        vec!["49".to_owned()],
        vec!["42{}".to_owned()],
        vec!["42[\"message\"".to_owned()],
        vec!["x".to_owned()],
    ] {
        let mut bad = server.connect().await;
        bad.register("bad", "bad").await;
        bad.texts(&packets).await;
        assert_eq!(bad.next().await, Got::Closed, "{packets:?}");
    }
    let mut bad = server.connect().await;
    bad.register("bad", "bad").await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for argument in [
        r#""no frame""#,
        "null",
        "[[[]]]",
        r#""\u0000""#,
        r#"{"type":1e99}"#,
        &deep,
    ] {
        bad.text(&format!("42[\"message\",{argument}]")).await;
        bad.text("42[\"message\"]").await;
        bad.text(&format!("42[\"other\",{argument}]")).await;
    }
    let answer = bad
        .ask(&json!({"type": 101, "data": {"type": 3, "to": {"user": "good"}, "data": {}}}))
        .await;
    assert_eq!(
        answer["code"], 0,
        "a malformed frame never closes the connection by itself"
    );
    assert_eq!(good.frame().await["from"], "bad");
}
