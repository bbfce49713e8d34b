//! `disconnected` is called exactly once, last and with the correct reason, however a session ends, and the
//! server keeps nothing of it.

use std::sync::atomic::Ordering;

use mynah_socketio::{CloseReason, Config, Encoded, Protocol, Transport};
use mynah_wire::ws::Opcode;

use crate::app::{Running, raw};
use crate::client::{ALL, Client, Got, Polling, Ws, request};
use crate::within;

fn quick() -> Config {
    Config {
        goodbye_timeout_ms: 100,
        close_timeout_ms: 2_000,
        ..Config::default()
    }
}

/// Checks that the application was told of the end once, with this reason, and that nothing is left.
async fn ended(running: &mut Running, reason: &str) {
    running.expect(&format!("/ disconnected: {reason}")).await;
    running.until_empty().await;
    assert_eq!(running.told_so_far(), [""; 0], "the end is the last entry");
}

#[tokio::test]
async fn a_client_disconnects_from_the_namespace() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(quick()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        client.send("1").await;
        running
            .expect("/ disconnected: client namespace disconnect")
            .await;
        running.until(|it| it.handlers.load(Ordering::SeqCst) == 0).await;
        assert_eq!(running.server.sessions(), 1, "the session stays open");
        drop(client);
    }
}

#[tokio::test]
async fn a_client_sends_a_close_packet() {
    for protocol in [Protocol::V3, Protocol::V4] {
        let mut running = Running::start(quick()).await;
        let mut client = Client::connect(&running, protocol, Transport::Polling).await;
        let polling = client.polling();
        let waiting = tokio::spawn(polling.get());
        polling.send(&["1"]).await;
        ended(&mut running, "client close").await;
        let reply = waiting.await.unwrap();
        // A GET that arrives after the close is refused.
        assert!(reply.status == 400 || reply.text().ends_with('6'), "{reply:?}");
        let reply = polling.get().await;
        assert_eq!(reply.text(), r#"{"code":1,"message":"Session ID unknown"}"#);

        let mut client = Client::connect(&running, protocol, Transport::WebSocket).await;
        client.ws().text("1").await;
        ended(&mut running, "client close").await;
        assert_eq!(client.ws().next().await, Got::Close(None));
    }
}

#[tokio::test]
async fn a_websocket_is_closed_or_disappears() {
    let mut running = Running::start(quick()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    client.ws().frame(Opcode::Close, &[3, 0xe8]).await;
    ended(&mut running, "transport close").await;
    assert_eq!(client.ws().next().await, Got::Close(None));
    assert_eq!(client.ws().next().await, Got::End);

    let client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    drop(client);
    ended(&mut running, "transport close").await;

    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    let stream = &client.ws().stream;
    socket2::SockRef::from(stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(client);
    ended(&mut running, "transport error").await;
}

#[tokio::test]
async fn giving_up_a_get_ends_the_session() {
    for protocol in [Protocol::V3, Protocol::V4] {
        let mut running = Running::start(quick()).await;
        let mut client = Client::connect(&running, protocol, Transport::Polling).await;
        let target = client.polling().target("polling");
        let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
        let get = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, get.as_bytes())
            .await
            .unwrap();
        // Once another packet of this session has been handled, the server has received the GET.
        client.send("2[\"note\",1]").await;
        running.expect("note 1").await;
        drop(stream);
        ended(&mut running, "transport close").await;
    }
}

#[tokio::test]
async fn overlapping_gets_end_the_session() {
    for (protocol, close) in [(Protocol::V3, "1:1"), (Protocol::V4, "1")] {
        let mut running = Running::start(quick()).await;
        let mut client = Client::connect(&running, protocol, Transport::Polling).await;
        let (one, two) = tokio::join!(client.polling().get(), client.polling().get());
        ended(&mut running, "transport error").await;
        let mut replies = [(one.status, one.text()), (two.status, two.text())];
        replies.sort_unstable();
        let refusal = r#"{"code":3,"message":"Bad request"}"#;
        assert_eq!(replies, [(200, close), (400, refusal)]);
    }
}

#[tokio::test]
async fn overlapping_posts_end_the_session() {
    let mut running = Running::start(quick()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let polling = client.polling();
    let first = tokio::spawn(polling.post("42[\"gate\",1]"));
    running.expect("at the gate 1").await;
    let second = polling.post("42[\"note\",2]").await;
    assert_eq!(second.status, 400);
    assert_eq!(first.await.unwrap().status, 200);
    running.gate.add_permits(1);
    running.expect("through the gate 1").await;
    ended(&mut running, "transport error").await;
}

#[tokio::test]
async fn an_invalid_packet_ends_the_session() {
    for (protocol, transport) in ALL {
        for wrong in [
            "9",
            "2{}",
            "2[",
            "3[]",
            "2/other,[\"x\"]",
            "4\"x\"",
            "2[\"connect\"]",
        ] {
            let mut running = Running::start(quick()).await;
            let mut client = Client::connect(&running, protocol, transport).await;
            match transport {
                Transport::WebSocket => client.ws().text(&format!("4{wrong}")).await,
                Transport::Polling => {
                    let polling = client.polling();
                    let body = polling.body(&[&format!("4{wrong}")]);
                    assert_eq!(polling.post(&body).await.status, 400, "{wrong}");
                }
            }
            ended(&mut running, "parse error").await;
            client.is_closed().await;
        }
    }
}

#[tokio::test]
async fn a_silent_client_times_out() {
    let config = Config {
        ping_interval_ms: 20,
        ping_timeout_ms: 20,
        ..quick()
    };
    for (protocol, transport) in ALL {
        let mut running = Running::start(config.clone()).await;
        let client = Client::connect(&running, protocol, transport).await;
        ended(&mut running, "ping timeout").await;
        drop(client);
    }
}

#[tokio::test]
async fn a_client_does_not_time_out_while_its_handler_waits() {
    let config = Config {
        ping_interval_ms: 40,
        ping_timeout_ms: 200,
        ..quick()
    };
    let mut running = Running::start(config).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    let ws = client.ws();
    ws.text("42[\"gate\",1]").await;
    running.expect("at the gate 1").await;
    assert_eq!(ws.next().await, Got::Text("2".into()));
    ws.text("3").await;
    // This is longer than interval and timeout. The session survives because the deadlines are postponed.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    ws.text("42[\"note\",2]").await;
    running.gate.add_permits(1);
    running.expect("through the gate 1").await;
    running.expect("note 2").await;
}

/// A handler may wait for its client to read. If the client has disappeared, it does not read, and the
/// session must not be kept open for that.
#[tokio::test]
async fn a_client_that_neither_reads_nor_sends_times_out_while_its_handler_waits() {
    let config = Config {
        ping_interval_ms: 1_000,
        ping_timeout_ms: 300,
        max_queue_bytes: 1 << 25,
        ..quick()
    };
    for (protocol, transport) in ALL {
        let mut running = Running::start(config.clone()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        let socket = running.socket().await;
        match transport {
            Transport::WebSocket => client.send("2[\"gate\",1]").await,
            // The POST is answered once the handler is done.
            Transport::Polling => {
                let polling = client.polling();
                let body = polling.body(&["42[\"gate\",1]"]);
                tokio::spawn(polling.post(&body));
            }
        }
        running.expect("at the gate 1").await;
        // More than the kernel buffers.
        let much = Encoded::event("n", &[raw(&format!("\"{}\"", "x".repeat(1_000_000)))]);
        for _ in 0..20 {
            socket.send(&much);
        }
        running.until(|it| it.server.sessions() == 0).await;
        running.gate.add_permits(1);
        running.expect("through the gate 1").await;
        ended(&mut running, "ping timeout").await;
        drop(client);
    }
}

#[tokio::test]
async fn a_client_that_connects_to_no_namespace_is_closed() {
    let config = Config {
        connect_timeout_ms: 20,
        ..quick()
    };
    let mut running = Running::start(config).await;
    let mut ws = Ws::open(running.address, Protocol::V4, "").await;
    assert_eq!(ws.next().await, Got::Close(Some(1001)));
    let polling = Polling::open(running.address, Protocol::V4, "").await;
    assert_eq!(polling.get().await.status, 400);
    // A client that was refused has not connected either.
    let mut ws = Ws::open(running.address, Protocol::V4, "").await;
    ws.text("40/denied,").await;
    assert_eq!(
        ws.next().await,
        Got::Text(r#"44/denied,{"message":"nope","data":{"code":7}}"#.into())
    );
    assert_eq!(ws.next().await, Got::Close(Some(1001)));
    running.until_empty().await;
    assert_eq!(running.told_so_far(), [""; 0]);
}

#[tokio::test]
async fn a_panic_of_a_handler_ends_its_session() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(quick()).await;
        let mut other = Client::connect(&running, protocol, transport).await;
        for event in ["panic", "panic later"] {
            let mut client = Client::connect(&running, protocol, transport).await;
            client.send("0/a").await;
            client.receive().await;
            match transport {
                Transport::WebSocket => client.send(&format!("2[\"{event}\"]")).await,
                Transport::Polling => {
                    let polling = client.polling();
                    let body = polling.body(&[&format!("42[\"{event}\"]")]);
                    polling.post(&body).await;
                }
            }
            running.expect("/a disconnected: server close").await;
            running.expect("/ disconnected: server close").await;
        }
        running.until(|it| it.server.sessions() == 1).await;
        other.send("2[\"echo\",1]").await;
        assert_eq!(other.receive().await, "2[\"echo\",1]", "other sessions continue");
        assert_eq!(running.told_so_far(), [""; 0]);
    }
}

#[tokio::test]
async fn a_handler_may_panic_when_it_is_told_of_the_end() {
    let mut running = Running::start(quick()).await;
    let query = "panics=in disconnected".replace(' ', "%20");
    // In two namespaces: the second panic happens while the first one unwinds.
    for event in ["close now", "panic", "panic later"] {
        let mut client = Client::connect_with(&running, Protocol::V4, Transport::WebSocket, &query).await;
        client.send("0/a").await;
        client.receive().await;
        client.send(&format!("2[\"{event}\"]")).await;
        running.expect("/a disconnected: server close").await;
        running.expect("/ disconnected: server close").await;
        running.until_empty().await;
    }
}

#[tokio::test]
async fn a_handler_may_panic_while_the_session_is_opened() {
    let mut running = Running::start(quick()).await;
    for transport in ["polling", "websocket"] {
        for place in ["connect", "connected"] {
            let target = format!("/socket.io/?EIO=3&transport={transport}&panics=in%20{place}");
            if transport == "polling" {
                let request = tokio::spawn(async move { request(running.address, "GET", &target).await });
                assert!(request.await.is_err(), "there is no answer");
            } else {
                let mut ws = Ws::upgrade(running.address, &target, Protocol::V3).await.unwrap();
                assert_eq!(ws.next().await, Got::End);
            }
            if place == "connected" {
                running.expect("/ disconnected: server close").await;
            }
            running.until_empty().await;
        }
    }
    assert_eq!(running.told_so_far(), [""; 0]);
}

#[tokio::test]
async fn the_end_waits_for_the_handler() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(quick()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        let socket = running.socket().await;
        let event = "2[\"gate\",1]";
        match transport {
            Transport::WebSocket => client.send(event).await,
            Transport::Polling => {
                let body = client.polling().body(&[&format!("4{event}"), "42[\"note\",2]"]);
                tokio::spawn(client.polling().post(&body));
            }
        }
        running.expect("at the gate 1").await;
        socket.close_now(CloseReason::ServerClose);
        running
            .until(|it| it.server.sessions() == 0 || transport == Transport::Polling)
            .await;
        assert!(!socket.is_connected() || transport == Transport::Polling);
        assert!(!socket.emit("late", &[]));
        assert_eq!(running.told_so_far(), [""; 0], "not before the handler is done");
        running.gate.add_permits(1);
        running.expect("through the gate 1").await;
        ended(&mut running, "server close").await;
    }
}

#[tokio::test]
async fn the_packets_of_a_post_are_handled_before_a_given_up_get_ends_the_session() {
    let mut running = Running::start(quick()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let polling = client.polling();
    let get = tokio::spawn(polling.get());
    let post = tokio::spawn(polling.post("42[\"gate\",1]\x1e42[\"note\",2]"));
    running.expect("at the gate 1").await;
    get.abort();
    post.abort();
    running.gate.add_permits(1);
    running.expect("through the gate 1").await;
    running.expect("note 2").await;
    drop(client);
}

/// The handler may stop its work, because nobody waits for the response any more.
#[tokio::test]
async fn a_disconnect_is_noticed_while_the_handler_waits() {
    for says_goodbye in [true, false] {
        let mut running = Running::start(quick()).await;
        let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
        let socket = running.socket().await;
        client.send("2[\"gate\",1]").await;
        running.expect("at the gate 1").await;
        let session = socket.session().clone();
        let noticed = tokio::spawn(async move { session.closed().await });
        if says_goodbye {
            client.ws().frame(Opcode::Close, &[]).await;
        } else {
            drop(client);
        }
        within(noticed).await.unwrap();
        running.until(|it| it.server.sessions() == 0).await;
        assert_eq!(running.told_so_far(), [""; 0], "not before the handler is done");
        running.gate.add_permits(1);
        running.expect("through the gate 1").await;
        ended(&mut running, "transport close").await;
    }
}

/// The same on polling, where a client that disconnects gives up its pending GET.
#[tokio::test]
async fn a_disconnect_on_polling_is_noticed_while_the_handler_waits() {
    for protocol in [Protocol::V3, Protocol::V4] {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, Transport::Polling).await;
        let socket = running.socket().await;
        let polling = client.polling();
        let get = tokio::spawn(polling.get());
        let post = tokio::spawn(polling.post(&polling.body(&["42[\"gate\",1]", "42[\"note\",2]"])));
        running.expect("at the gate 1").await;
        let session = socket.session().clone();
        let noticed = tokio::spawn(async move { session.closed().await });
        get.abort();
        within(noticed).await.unwrap();
        assert!(!socket.session().room(0).await);
        assert_eq!(running.told_so_far(), [""; 0], "not before the handler is done");
        running.gate.add_permits(1);
        running.expect("through the gate 1").await;
        running.expect("note 2").await;
        running.expect("/ disconnected: transport close").await;
        within(post).await.unwrap();
        running.until_empty().await;
    }
}

#[tokio::test]
async fn packets_sent_before_the_disconnect_are_handled_first() {
    let mut running = Running::start(quick()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    client.send("2[\"gate\",1]").await;
    running.expect("at the gate 1").await;
    client.send("2[\"note\",2]").await;
    client.ws().frame(Opcode::Close, &[]).await;
    drop(client);
    // Time enough to notice the end, which must not make a difference.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    running.gate.add_permits(1);
    running.expect("through the gate 1").await;
    running.expect("note 2").await;
    ended(&mut running, "transport close").await;
}
