//! A client that reads too slowly is closed, without any effect on others.

use mynah_socketio::{CloseReason, Config, Encoded, Protocol, Transport};
use mynah_wire::ws::{Opcode, masked_frame};

use crate::app::{Running, raw};
use crate::client::{ALL, Client, Got};
use crate::within;

const MAX_QUEUE_BYTES: usize = 200_000;

fn with_small_queue() -> Config {
    Config {
        max_queue_bytes: MAX_QUEUE_BYTES,
        close_timeout_ms: 100,
        goodbye_timeout_ms: 100,
        ..Config::default()
    }
}

/// An event of about 1 KB.
fn event() -> Encoded {
    let filler = format!("\"{}\"", "x".repeat(1_000));
    Encoded::event("n", &[raw(&filler)])
}

#[tokio::test]
async fn a_slow_reader_is_closed_with_its_reason() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(with_small_queue()).await;
        let mut other = Client::connect(&running, protocol, transport).await;
        let slow = Client::connect(&running, protocol, transport).await;
        let (_, socket) = (running.socket().await, running.socket().await);
        let event = event();
        let mut sent = 0;
        while socket.send(&event) {
            assert!(socket.session().queued_bytes() <= MAX_QUEUE_BYTES);
            sent += 1;
            // The kernel buffers a few megabytes before the queue grows.
            assert!(sent < 100_000, "the queue has no limit");
            if sent % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        assert!(!socket.send(&event));
        running.expect("/ disconnected: slow reader").await;
        assert_eq!(socket.session().queued_bytes(), 0);
        assert_eq!(running.server.slow_readers(), 1);
        running.until(|it| it.server.sessions() == 1).await;
        other.send("2[\"echo\",1]").await;
        assert_eq!(other.receive().await, "2[\"echo\",1]");
        drop(slow);
    }
}

#[tokio::test]
async fn bytes_that_were_read_do_not_count_any_more() {
    for query in ["", "b64=1"] {
        for (protocol, transport) in ALL {
            let mut running = Running::start(with_small_queue()).await;
            let mut client = Client::connect_with(&running, protocol, transport, query).await;
            let socket = running.socket().await;
            let event = event();
            for _ in 0..20 {
                for _ in 0..50 {
                    assert!(socket.send(&event));
                }
                for _ in 0..50 {
                    assert!(client.receive().await.starts_with("2[\"n\""));
                }
            }
            assert!(socket.emit_binary(
                "b",
                &[raw(r#"{"_placeholder":true,"num":0}"#)],
                &[bytes::Bytes::from(vec![7; 100_000])]
            ));
            client.receive().await;
            assert_eq!(client.attachment().await.len(), 100_000);
            running.until(|_| socket.session().queued_bytes() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_sender_that_waits_for_room_may_send_any_amount() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(with_small_queue()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        let socket = running.socket().await;
        let sender = socket.clone();
        let sending = tokio::spawn(async move {
            let event = event();
            for _ in 0..20_000 {
                assert!(sender.session().room(MAX_QUEUE_BYTES / 2).await);
                assert!(sender.send(&event));
            }
        });
        for _ in 0..20_000 {
            client.receive().await;
        }
        within(sending).await.unwrap();
        assert_eq!(running.server.slow_readers(), 0);
    }
}

#[tokio::test]
async fn waiting_for_room_ends_with_the_session() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(with_small_queue()).await;
        let _client = Client::connect(&running, protocol, transport).await;
        let socket = running.socket().await;
        let event = event();
        // The second wait lasts as long as the client does not read.
        let waiting = socket.clone();
        let waits = tokio::spawn(async move {
            loop {
                if !waiting.session().room(0).await {
                    return;
                }
                for _ in 0..150 {
                    waiting.send(&event);
                }
            }
        });
        running.until(|_| socket.session().queued_bytes() > 0).await;
        socket.close_now(CloseReason::ServerClose);
        within(waits).await.unwrap();
        assert!(!socket.session().room(usize::MAX).await);
    }
}

/// A client that writes everything before it reads is told of the end too, because the server reads
/// meanwhile.
#[tokio::test]
async fn a_client_that_writes_first_and_then_reads_gets_the_close() {
    let mut running = Running::start(Config {
        max_queue_bytes: MAX_QUEUE_BYTES,
        ..Config::default()
    })
    .await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    let echo = format!("42[\"echo\",\"{}\"]", "x".repeat(50_000));
    let frame = masked_frame(Opcode::Text, echo.as_bytes(), [1, 2, 3, 4]);
    // The kernels of both sides buffer some megabytes in each direction.
    for _ in 0..600 {
        client.ws().raw(&frame).await;
    }
    running.expect("/ disconnected: slow reader").await;
    loop {
        match client.ws().next().await {
            Got::Text(_) => {}
            end => break assert_eq!(end, Got::Close(Some(1001))),
        }
    }
}

/// Many requests at once are allowed as long as the client reads the responses, however large they are
/// together.
#[tokio::test]
async fn a_client_that_sends_many_messages_at_once_and_reads_is_not_slow() {
    for protocol in [Protocol::V3, Protocol::V4] {
        let running = Running::start(with_small_queue()).await;
        let mut client = Client::connect(&running, protocol, Transport::WebSocket).await;
        let frame = masked_frame(Opcode::Text, b"420[\"ack\",\"xxxxxxxxxxxx\"]", [1, 2, 3, 4]);
        client.ws().raw(&frame.repeat(5_000)).await;
        for _ in 0..5_000 {
            assert_eq!(client.receive().await, "30[\"xxxxxxxxxxxx\"]");
        }
        assert_eq!(running.server.slow_readers(), 0);
    }
}
