//! Limits of the number of connections, in total and per address.

use std::net::SocketAddr;
use std::sync::Arc;

use mynah_front::{Admission, Bounds, Refusal};
use mynah_socketio::{Config, Protocol, Transport};
use mynah_wire::ws::{Opcode, masked_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::app::Running;
use crate::client::{ALL, Client, Got, Reply, Ws, request};
use crate::within;

fn bounded(sessions: usize, sessions_per_address: usize) -> Config {
    let bounds = Bounds {
        sessions,
        sessions_per_address,
        ..Bounds::default()
    };
    Config {
        admission: Arc::new(Admission::new(bounds)),
        ..Config::default()
    }
}

/// The response that a further client gets.
async fn response_to_another_client(running: &Running, transport: Transport) -> Reply {
    let target = format!("/socket.io/?EIO=4&transport={}", transport.as_str());
    match transport {
        Transport::Polling => request(running.address, "GET", &target).await,
        Transport::WebSocket => match Ws::upgrade(running.address, &target, Protocol::V4).await {
            Ok(_) => panic!("the connection was accepted"),
            Err(reply) => reply,
        },
    }
}

#[tokio::test]
async fn one_session_too_many_is_refused_until_one_leaves() {
    for (bounds, status, refusal) in [
        ((2, 0), 503, Refusal::Connections),
        ((0, 2), 429, Refusal::Address),
    ] {
        for (protocol, transport) in ALL {
            let running = Running::start(bounded(bounds.0, bounds.1)).await;
            let stays = Client::connect(&running, protocol, transport).await;
            let leaves = Client::connect(&running, protocol, Transport::WebSocket).await;
            for transport in [Transport::Polling, Transport::WebSocket] {
                let reply = response_to_another_client(&running, transport).await;
                assert_eq!(reply.status, status);
                assert_eq!(reply.header("retry-after").as_deref(), Some("10"));
                assert_eq!(reply.header("connection").as_deref(), Some("close"));
                assert!(reply.text().ends_with(".\n"), "{}", reply.text());
            }
            assert_eq!(running.admission.refused(refusal), 2);
            assert_eq!(running.server.sessions(), 2, "refused clients have no session");
            drop(leaves);
            running.until(|it| it.server.sessions() == 1).await;
            Client::connect(&running, protocol, transport).await;
            drop(stays);
        }
    }
}

/// A session that fails while it is opened does not count any more.
#[tokio::test]
async fn sessions_that_fail_while_they_are_opened_are_not_counted() {
    let running = Running::start(bounded(3, 3)).await;
    for n in 0..10 {
        // Clients of EIO3 are connected while their session is opened, and the handler panics.
        let target = "/socket.io/?EIO=3&transport=websocket&panics=in%20connect";
        let mut ws = Ws::upgrade(running.address, target, Protocol::V3).await.unwrap();
        assert_eq!(ws.packet().await, None, "{n}");
        running.until(|it| it.admission.sessions() == 0).await;
        // The client gives up between its request and the response.
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.set_zero_linger().unwrap();
        drop(stream);
    }
    running.until(|it| it.admission.addresses() == 0).await;
}

async fn dial(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from.parse().unwrap()).unwrap();
    within(socket.connect(to)).await.unwrap()
}

/// Silent connections use up the limit of their own address, and of no other.
#[tokio::test]
async fn an_address_with_too_many_http_connections_is_refused() {
    let running = Running::start(bounded(0, 1)).await;
    let mut silent = Vec::new();
    for _ in 0..66 {
        silent.push(dial("127.0.0.2:0", running.address).await);
    }
    let mut refused = dial("127.0.0.2:0", running.address).await;
    let mut answer = Vec::new();
    within(refused.read_to_end(&mut answer)).await.unwrap();
    let reply = Reply::parse(&answer);
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string()));
    assert_eq!(running.admission.refused(Refusal::Address), 1);
    Client::connect(&running, Protocol::V4, Transport::WebSocket).await;

    drop(silent);
    running.until(|it| it.admission.addresses() == 0).await;
    let from_there = dial("127.0.0.2:0", running.address).await;
    let target = "/socket.io/?EIO=4&transport=websocket";
    assert!(Ws::over(from_there, target, Protocol::V4, "").await.is_ok());
}

/// A client that reads only after it has written its whole request gets the response, and no reset.
#[tokio::test]
async fn a_refused_client_that_continues_to_write_gets_the_response() {
    let running = Running::start(bounded(0, 1)).await;
    let mut silent = Vec::new();
    for _ in 0..66 {
        silent.push(dial("127.0.0.2:0", running.address).await);
    }
    for _ in 0..10 {
        let mut refused = dial("127.0.0.2:0", running.address).await;
        // The refusal arrives before the client writes anything.
        within(refused.readable()).await.unwrap();
        let head = "POST /socket.io/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n";
        within(refused.write_all(head.as_bytes())).await.unwrap();
        within(refused.write_all(&vec![b'x'; 4_000_000])).await.unwrap();
        let mut answer = Vec::new();
        within(refused.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(Reply::parse(&answer).status, 429);
    }
    let refused: Vec<_> = {
        let mut refused = Vec::new();
        for _ in 0..300 {
            refused.push(dial("127.0.0.2:0", running.address).await);
        }
        refused
    };
    for mut refused in refused {
        let mut answer = Vec::new();
        within(refused.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(
            Reply::parse(&answer).status,
            429,
            "every refused connection gets the response"
        );
    }
}

/// A connection that became a WebSocket belongs to its session, and is not counted as an HTTP connection.
#[tokio::test]
async fn websockets_do_not_count_as_http_connections() {
    let running = Running::start(bounded(0, 100)).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(Client::connect(&running, Protocol::V4, Transport::WebSocket).await);
    }
    // Together with the WebSockets, 264 HTTP connections would be too many.
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    assert_eq!(
        response_to_another_client(&running, Transport::Polling)
            .await
            .status,
        429
    );
    assert_eq!(running.admission.refused(Refusal::Address), 1);
}

/// WebSockets that their session refuses are closed. The number of them that wait for their end is limited
/// like that of an address's HTTP connections.
#[tokio::test]
async fn the_websockets_offered_to_one_session_are_limited() {
    let running = Running::start(bounded(0, 1)).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let target = client.polling().target("websocket");
    let mut open = Vec::new();
    for n in 0..300 {
        // The WebSocket is refused as an HTTP connection, or accepted.
        if let Ok(ws) = Ws::upgrade(running.address, &target, Protocol::V4).await {
            open.push(ws);
        }
        assert!(n > 0 || open.len() == 1);
    }
    // No client closes. A WebSocket that the server has closed got a close frame, or nothing.
    let mut closed = 0;
    for ws in &mut open[1..] {
        closed += usize::from(ws.next().await == Got::Close(None));
    }
    assert!(closed <= 2 + 64, "{closed} WebSockets wait for their end");
    drop(open);
    while request(running.address, "GET", "/socket.io/").await.status == 429 {}
    client.send("2[\"echo\",1]").await;
    assert_eq!(client.receive().await, "2[\"echo\",1]");
}

/// The memory for unfinished messages, bodies and unread responses is limited per address, whatever the kind
/// of connection.
#[tokio::test]
async fn the_memory_held_for_an_address_is_limited() {
    const MOST: usize = 300_000;
    let bounds = Bounds {
        bytes_per_address: MOST,
        ..Bounds::default()
    };
    for (protocol, transport) in ALL {
        let running = Running::start(Config {
            admission: Arc::new(Admission::new(bounds)),
            ..Config::default()
        })
        .await;
        let mut clients = Vec::new();
        let mut streams = Vec::new();
        for n in 0..10 {
            let mut client = Client::connect(&running, protocol, transport).await;
            match transport {
                Transport::WebSocket => {
                    let frame = masked_frame(Opcode::Text, &[b'x'; 100_000], [1, 2, 3, 4]);
                    client.ws().raw(&frame[..99_000]).await;
                }
                Transport::Polling => {
                    let mut stream = TcpStream::connect(running.address).await.unwrap();
                    let target = client.polling().target("polling");
                    let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.unwrap();
                    stream.write_all(&[b'x'; 99_000]).await.unwrap();
                    streams.push(stream);
                }
            }
            let refused = (n as u64).saturating_sub(1);
            running
                .until(|it| {
                    let held = it.admission.held_bytes();
                    held > 80_000 * (n + 1).min(2) && it.admission.refused(Refusal::Memory) == refused
                })
                .await;
            assert!(running.admission.held_bytes() <= MOST);
            clients.push(client);
        }
        drop((clients, streams));
        running.until(|it| it.admission.held_bytes() == 0).await;
    }
}
