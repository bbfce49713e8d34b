//! The deadline of a handler: it is read again after each event, concerns only its own namespace, and what
//! the handler sends then is still written.

use mynah_socketio::{Config, Protocol, Transport};

use crate::app::Running;
use crate::client::{ALL, Client};

const FAR: u32 = 3_600_000;

#[tokio::test]
async fn events_sent_at_the_deadline_are_written_before_the_end() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        // The deadline is moved: only the last one counts.
        client.send(&format!(r#"2["deadline",{FAR}]"#)).await;
        client.send(r#"2["note",1]"#).await;
        running.expect("note 1").await;
        client.send(r#"2["deadline",1]"#).await;
        running.expect("/ is over").await;
        assert_eq!(client.receive().await, r#"2["over"]"#);
        assert_eq!(
            client.try_receive().await,
            None,
            "no 41: the client is expected to reconnect"
        );
        running.expect("/ disconnected: server close").await;
    }
}

/// A token expires by the time of day, and a deadline is on the clock of the server.
#[tokio::test]
async fn a_handler_whose_deadline_passes_while_it_is_asked_is_told() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        client.send(r#"2["other clock"]"#).await;
        running.expect("/ is over").await;
        assert_eq!(client.receive().await, r#"2["over"]"#);
    }
}

#[tokio::test]
async fn each_namespace_has_its_own_deadline() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    client.send("0/a,").await;
    assert!(client.receive().await.starts_with("0/a,"));
    client.send(&format!(r#"2["deadline",{FAR}]"#)).await;
    client.send(r#"2/a,["deadline",0]"#).await;
    running.expect("/a is over").await;
    assert_eq!(client.receive().await, r#"2/a,["over"]"#);
    client.send(r#"2["note",1]"#).await;
    running.expect("note 1").await;
}

#[tokio::test]
async fn a_deadline_is_removed_with_its_namespace() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    client.send(r#"2["deadline",1000]"#).await;
    client.send("1").await;
    running
        .expect("/ disconnected: client namespace disconnect")
        .await;
    // The later deadline of another client shows that the first one would have passed.
    let mut clock = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    clock.send(r#"2["deadline",1200]"#).await;
    running.expect("/ is over").await;
    client.send("0/a,").await;
    assert!(
        client.receive().await.starts_with("0/a,"),
        "the session is still open"
    );
}
