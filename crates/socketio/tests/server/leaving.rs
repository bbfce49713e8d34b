//! The server ends connections: what clients receive, and that it is the last.

use std::time::Duration;

use mynah_socketio::{Config, Protocol, Transport};
use mynah_wire::engine::PacketType;
use tokio::net::TcpStream;

use crate::app::{Running, raw};
use crate::client::{ALL, Client, Got, Ws, packets, request};
use crate::within;

#[tokio::test]
async fn a_client_disconnected_for_good_gets_the_last_event_the_disconnect_and_the_close() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        client.send("2[\"for good\"]").await;
        assert_eq!(client.receive().await, "2[\"last\"]");
        assert_eq!(client.receive().await, "1");
        client.is_closed().await;
        running
            .expect("/ disconnected: server namespace disconnect")
            .await;
        running.until_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_follows_the_disconnect_whatever_crosses_it() {
    for round in 0..100 {
        let (protocol, transport) = ALL[round % 4];
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        let socket = running.socket().await;
        let emitting = socket.clone();
        let emitting = tokio::spawn(async move {
            let mut n = 0;
            while emitting.emit("n", &[raw(&n.to_string())]) {
                n += 1;
                tokio::task::yield_now().await;
            }
            n
        });
        let soft = round % 3 == 0;
        let away = tokio::spawn(async move {
            for _ in 0..round % 5 {
                tokio::task::yield_now().await;
            }
            if soft {
                socket.disconnect();
            } else {
                socket.disconnect_for_good();
            }
        });
        // Packets of the client cross the disconnect.
        match transport {
            Transport::WebSocket => {
                for _ in 0..10 {
                    let frame =
                        mynah_wire::ws::masked_frame(mynah_wire::ws::Opcode::Text, b"42[\"echo\"]", [9; 4]);
                    // The server may have closed.
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut client.ws().stream, &frame).await;
                }
            }
            Transport::Polling => {
                let body = client.polling().body(&["42[\"echo\"]"]);
                let reply = client.polling().post(&body).await;
                assert_eq!(
                    reply.status, 200,
                    "a POST that crosses the disconnect does not fail"
                );
            }
        }
        let mut next = 0;
        loop {
            match client.receive().await.as_str() {
                "1" => break,
                "2[\"echo\"]" => {}
                text => {
                    assert_eq!(text, format!("2[\"n\",{next}]"));
                    next += 1;
                }
            }
        }
        away.await.unwrap();
        assert_eq!(
            within(emitting).await.unwrap(),
            next,
            "every accepted event has arrived"
        );
        if soft {
            client.send("2[\"echo\",\"late\"]").await;
            client.send("0/a").await;
            let connected = client.receive().await;
            assert!(
                connected.starts_with("0/a"),
                "the session stays open: {connected}"
            );
        } else {
            client.is_closed().await;
        }
        running
            .expect("/ disconnected: server namespace disconnect")
            .await;
    }
}

#[tokio::test]
async fn a_soft_disconnect_affects_only_its_namespace() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        client.send("0/a").await;
        assert!(client.receive().await.starts_with("0/a,"));
        client.send("2/a,[\"leave\"]").await;
        assert_eq!(client.receive().await, "1/a,");
        running
            .expect("/a disconnected: server namespace disconnect")
            .await;
        client.send("2/a,[\"note\",1]").await;
        client.send("2[\"echo\",1]").await;
        assert_eq!(client.receive().await, "2[\"echo\",1]");
        client.send("0/a").await;
        assert!(
            client.receive().await.starts_with("0/a,"),
            "the client may connect to it again"
        );
        client.send("2/a,[\"note\",2]").await;
        running.expect("note 2").await;
    }
}

#[tokio::test]
async fn a_hard_disconnect_affects_all_namespaces() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        for namespace in ["/a", "/b"] {
            client.send(&format!("0{namespace}")).await;
            client.receive().await;
        }
        // A namespace that has been told already is not told again.
        client.send("2/b,[\"leave\"]").await;
        assert_eq!(client.receive().await, "1/b,");
        running
            .expect("/b disconnected: server namespace disconnect")
            .await;
        client.send("2/a,[\"for good\"]").await;
        assert_eq!(client.receive().await, "2[\"last\"]");
        assert_eq!(client.receive().await, "1");
        assert_eq!(client.receive().await, "1/a,");
        client.is_closed().await;
        running
            .expect("/ disconnected: server namespace disconnect")
            .await;
        running
            .expect("/a disconnected: server namespace disconnect")
            .await;
        running.until_empty().await;
    }
}

#[tokio::test]
async fn a_client_that_should_reconnect_gets_no_disconnect() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        let socket = running.socket().await;
        assert!(socket.emit("before", &[]));
        socket.close_to_reconnect();
        assert!(!socket.emit("after", &[]));
        assert_eq!(client.receive().await, "2[\"before\"]");
        client.is_closed().await;
        running.expect("/ disconnected: server close").await;
        running.until_empty().await;
    }
}

#[tokio::test]
async fn draining_closes_all_and_waits_for_handlers() {
    let config = Config {
        goodbye_timeout_ms: 100,
        ..Config::default()
    };
    let mut running = Running::start(config).await;
    let mut clients = Vec::new();
    for (protocol, transport) in ALL {
        for _ in 0..5 {
            clients.push(Client::connect(&running, protocol, transport).await);
        }
    }
    let mut waiting = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    waiting.send("2[\"gate\",1]").await;
    running.expect("at the gate 1").await;
    // Not connected to any namespace yet.
    let mut bare = Ws::open(running.address, Protocol::V4, "").await;

    let server = running.server.clone();
    let draining = tokio::spawn(async move { server.drain(Duration::from_millis(40)).await });
    assert_eq!(bare.next().await, Got::Close(Some(1001)));
    for client in &mut clients {
        client.is_closed().await;
    }
    waiting.is_closed().await;
    assert!(!draining.is_finished(), "a handler is still running");
    for transport in ["polling", "websocket"] {
        let target = format!("/socket.io/?EIO=4&transport={transport}");
        let reply = request(running.address, "GET", &target).await;
        assert_eq!(reply.status, 503, "no session is opened any more");
    }
    running.gate.add_permits(1);
    for _ in &clients {
        running.expect("/ disconnected: server shutting down").await;
    }
    running.expect("through the gate 1").await;
    running.expect("/ disconnected: server shutting down").await;
    drop((bare, clients, waiting));
    within(draining).await.unwrap();
    running.until_empty().await;
}

/// The end of a session shows whether the client is expected to reconnect. Clients in Python, Rust, C++ and
/// Java depend on it.
#[tokio::test]
async fn the_end_shows_whether_to_reconnect() {
    for protocol in [Protocol::V3, Protocol::V4] {
        for (event, reconnects) in [("reconnect", true), ("close now", true), ("for good", false)] {
            let running = Running::start(Config::default()).await;
            let mut client = Client::connect(&running, protocol, Transport::Polling).await;
            let waiting = tokio::spawn(client.polling().get());
            client.send(&format!("2[\"{event}\"]")).await;
            let mut reply = within(waiting).await.unwrap();
            while reply.status == 200 && packets(protocol, &reply)[0].kind == PacketType::Message {
                reply = within(client.polling().get()).await;
            }
            if reconnects {
                let body = r#"{"code":1,"message":"Session ID unknown"}"#;
                assert_eq!((reply.status, reply.text()), (400, body), "{event}");
            } else {
                assert_eq!(packets(protocol, &reply)[0].kind, PacketType::Close, "{event}");
            }
            running.until_empty().await;

            for agent in ["", "okhttp/3.12.12", "curl/8"] {
                let target = format!("/socket.io/?EIO={}&transport=websocket", protocol.as_str());
                let stream = TcpStream::connect(running.address).await.unwrap();
                let headers = format!("User-Agent: {agent}\r\n");
                let mut ws = Ws::over(stream, &target, protocol, &headers).await.unwrap();
                if protocol == Protocol::V4 {
                    ws.text("40").await;
                }
                ws.text(&format!("42[\"{event}\"]")).await;
                let mut last = Got::End;
                let end = loop {
                    match ws.next().await {
                        Got::Text(text) => last = Got::Text(text),
                        end => break end,
                    }
                };
                let expected = match (reconnects, agent) {
                    (false, _) => Got::Close(None),
                    // OkHttp does not report a close frame to its application.
                    (true, "okhttp/3.12.12") => Got::End,
                    (true, _) => Got::Close(Some(1001)),
                };
                assert_eq!(end, expected, "{event} {agent}");
                assert_eq!(last == Got::Text("1".into()), !reconnects, "{event}: {last:?}");
            }
        }
    }
}
