//! Connections that never complete a request, or never read a response.

use std::sync::Arc;
use std::time::Duration;

use mynah_front::{Admission, ListenerOptions, Refusal};
use mynah_socketio::{Config, Protocol, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::app::Running;
use crate::client::{Client, Polling, Reply};
use crate::within;

async fn hasty() -> Running {
    let admission: Arc<Admission> = Arc::default();
    let options = ListenerOptions {
        header_timeout_ms: 200,
        idle_timeout_ms: 300,
        write_timeout_ms: 200,
        admission: admission.clone(),
        ..ListenerOptions::default()
    };
    let config = Config {
        admission,
        ..Config::default()
    };
    Running::start_with(config, options).await
}

async fn end(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = within(stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn a_connection_without_a_complete_head_is_closed() {
    let running = hasty().await;
    for begun in ["", "GET / HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        end(&mut stream).await;
    }
    running
        .until(|it| it.admission.refused(Refusal::HeaderTimeout) == 2)
        .await;
}

/// The timeout is for the whole head, however often bytes arrive.
#[tokio::test]
async fn slow_bytes_do_not_extend_the_timeout() {
    let running = hasty().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let dripping = async {
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while stream.write_all(b"X: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(dripping).await;
    running
        .until(|it| it.admission.refused(Refusal::HeaderTimeout) == 1)
        .await;
}

/// A connection that has served a request ends in the same way, and does not count as refused.
#[tokio::test]
async fn a_kept_connection_is_closed_after_a_while() {
    let running = hasty().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"GET /socket.io/ HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(Reply::parse(&end(&mut stream).await).status, 400);
    assert_eq!(running.admission.refused(Refusal::HeaderTimeout), 0);
}

#[tokio::test]
async fn heads_are_limited_in_size_and_number() {
    let running = hasty().await;
    let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    for headers in [format!("X: {}\r\n", "y".repeat(20_000)), many] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let head = format!("GET /socket.io/ HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        assert_eq!(Reply::parse(&end(&mut stream).await).status, 431);
    }
    running
        .until(|it| it.admission.refused(Refusal::Header) == 2)
        .await;
}

/// A connection whose client does not read its response is closed.
#[tokio::test]
async fn a_client_that_does_not_read_its_response_is_closed() {
    let mut running = hasty().await;
    let polling = Polling::open(running.address, Protocol::V4, "").await;
    assert_eq!(polling.post("40").await.status, 200);
    polling.get().await;
    let socket = running.socket().await;
    let filler = format!("\"{}\"", "x".repeat(900_000));
    socket.emit("n", &[crate::app::raw(&filler)]);

    let small = TcpSocket::new_v4().unwrap();
    small.set_recv_buffer_size(4_096).unwrap();
    let mut stream = within(small.connect(running.address)).await.unwrap();
    // More than the kernel buffers for a client that does not read.
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", polling.target("polling"));
    stream.write_all(request.as_bytes()).await.unwrap();
    for _ in 0..20 {
        running
            .until(|it| {
                it.admission.refused(Refusal::AnswerTimeout) == 1 || socket.session().queued_bytes() == 0
            })
            .await;
        if running.admission.refused(Refusal::AnswerTimeout) == 1 {
            return;
        }
        socket.emit("n", &[crate::app::raw(&filler)]);
        let _ = stream.write_all(request.as_bytes()).await;
    }
    running
        .until(|it| it.admission.refused(Refusal::AnswerTimeout) == 1)
        .await;
}

/// A thousand silent connections do not delay others.
#[tokio::test]
async fn silent_connections_do_not_block_others() {
    let running = Running::start(Config::default()).await;
    let mut silent = Vec::new();
    for n in 0..1_000 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        if n % 2 == 0 {
            stream
                .write_all(b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: x\r\nX")
                .await
                .unwrap();
        }
        silent.push(stream);
    }
    for transport in [Transport::Polling, Transport::WebSocket] {
        let mut client = Client::connect(&running, Protocol::V4, transport).await;
        client.send("2[\"echo\",1]").await;
        assert_eq!(client.receive().await, "2[\"echo\",1]");
    }
}
