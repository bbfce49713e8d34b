//! Acknowledgements in both directions.

use mynah_socketio::{AckError, AckId, Config, Protocol, Transport};

use crate::app::{Running, raw};
use crate::client::{ALL, Client};
use crate::within;

const PLACEHOLDER: &str = r#"{"_placeholder":true,"num":0}"#;

#[tokio::test]
async fn the_server_acknowledges() {
    for (protocol, transport) in ALL {
        let running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        client.send("27[\"ack\",1,{\"a\":[]}]").await;
        assert_eq!(client.receive().await, "37[1,{\"a\":[]}]");
        client.send(&format!("51-8[\"ack\",{PLACEHOLDER}]")).await;
        client.attach(&[1, 2, 3]).await;
        assert_eq!(client.receive().await, format!("61-8[{PLACEHOLDER}]"));
        assert_eq!(client.attachment().await, [1, 2, 3]);
    }
}

#[tokio::test]
async fn the_client_acknowledges() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        client.send("2[\"ask\",\"what?\"]").await;
        assert_eq!(client.receive().await, "20[\"question\",\"what?\"]");
        client.send("30[1,\"two\"]").await;
        running.expect("answer 1,\"two\" []").await;

        client.send(&format!("51-[\"ask\",{PLACEHOLDER}]")).await;
        client.attach(b"in").await;
        assert_eq!(
            client.receive().await,
            format!("51-1[\"question\",{PLACEHOLDER}]")
        );
        assert_eq!(client.attachment().await, b"in");
        client.send(&format!("61-1[{PLACEHOLDER}]")).await;
        client.attach(b"out").await;
        running.expect(&format!("answer {PLACEHOLDER} [b\"out\"]")).await;

        for late in ["30[]", "31[]", "399[]"] {
            client.send(late).await;
        }
        client.send("2[\"note\",\"undisturbed\"]").await;
        running.expect("note \"undisturbed\"").await;
    }
}

#[tokio::test]
async fn a_pending_acknowledgement_fails_at_the_end() {
    for (end, reason) in [
        ("2[\"close now\"]", "server close"),
        ("2[\"leave\"]", "server namespace disconnect"),
        ("1", "client namespace disconnect"),
    ] {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
        client.send("2[\"ask\"]").await;
        client.receive().await;
        client.send(end).await;
        let mut told = [running.told().await, running.told().await];
        told.sort();
        assert_eq!(
            told,
            [
                format!("/ disconnected: {reason}"),
                "no answer: the client has disconnected".to_owned()
            ]
        );
        let socket = running.socket().await;
        assert!(matches!(
            socket.emit_with_ack("late", &[], &[]),
            Err(AckError::Disconnected)
        ));
        assert!(!socket.ack(AckId(1), &[]));
    }
}

#[tokio::test]
async fn the_number_of_pending_acknowledgements_is_limited() {
    let config = Config {
        max_pending_acks: 3,
        ..Config::default()
    };
    let mut running = Running::start(config).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    let socket = running.socket().await;
    let ask = || socket.emit_with_ack("q", &[raw("1")], &[]);
    let mut asked: Vec<_> = (0..3).map(|_| ask().unwrap()).collect();
    assert!(matches!(ask(), Err(AckError::TooMany)));
    client.send("30[\"done\"]").await;
    let acked = within(asked.remove(0)).await.unwrap();
    assert_eq!(acked.args[0].get(), "\"done\"");
    // An acknowledgement for which nobody waits any more does not count either.
    drop(asked.remove(0));
    let more: Vec<_> = (0..2).map(|_| ask().unwrap()).collect();
    assert!(matches!(ask(), Err(AckError::TooMany)));
    drop(more);
}
