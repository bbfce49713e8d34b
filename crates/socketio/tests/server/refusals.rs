//! HTTP requests that are refused, in exactly the form that clients expect.

use mynah_socketio::{Config, Protocol, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::Running;
use crate::client::{Client, Reply, Ws, request, request_with};
use crate::within;

const CODES: [&str; 6] = [
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
];

async fn refused(running: &Running, method: &str, target: &str, code: usize) {
    let reply = request(running.address, method, target).await;
    assert_eq!(reply.status, 400, "{method} {target}");
    assert_eq!(reply.header("content-type").as_deref(), Some("application/json"));
    let body = format!(r#"{{"code":{code},"message":"{}"}}"#, CODES[code]);
    assert_eq!(reply.text(), body, "{method} {target}");
}

#[tokio::test]
async fn invalid_handshakes_are_refused() {
    let running = Running::start(Config::default()).await;
    for (method, query, code) in [
        ("GET", "", 0),
        ("GET", "EIO=4", 0),
        ("GET", "EIO=4&transport=", 0),
        ("GET", "EIO=4&transport=abc", 0),
        ("GET", "EIO=4&transport=constructor", 0),
        ("GET", "EIO=4&transport=webtransport", 0),
        ("GET", "EIO=4&transport=polling&sid=abc", 1),
        ("GET", "EIO=4&transport=polling&sid=aaaaaaaaaaaaaaaaaaaa", 1),
        ("GET", "EIO=4&transport=polling&sid=constructor", 1),
        ("POST", "EIO=4&transport=polling&sid=abc", 1),
        ("POST", "EIO=4&transport=polling", 2),
        ("PUT", "EIO=4&transport=polling", 2),
        ("DELETE", "EIO=3&transport=polling", 2),
        ("GET", "EIO=4&transport=websocket", 3),
        ("GET", "transport=polling", 5),
        ("GET", "EIO=2&transport=polling", 5),
        ("GET", "EIO=5&transport=polling", 5),
        ("GET", "EIO=abc&transport=polling", 5),
    ] {
        refused(&running, method, &format!("/socket.io/?{query}"), code).await;
    }
    assert_eq!(running.server.sessions(), 0);
}

#[tokio::test]
async fn invalid_requests_of_a_session_are_refused() {
    for (protocol, other) in [(Protocol::V4, 3), (Protocol::V3, 4)] {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, Transport::Polling).await;
        let sid = client.polling().sid.clone();
        for wrong in [
            format!("EIO={other}&transport=polling&sid={sid}"),
            format!("transport=polling&sid={sid}"),
            format!("EIO={}&transport=websocket&sid={sid}", protocol.as_str()),
        ] {
            refused(&running, "GET", &format!("/socket.io/?{wrong}"), 3).await;
            refused(&running, "POST", &format!("/socket.io/?{wrong}"), 3).await;
        }
        for method in ["PUT", "PATCH", "DELETE"] {
            let reply = request(running.address, method, &client.polling().target("polling")).await;
            assert_eq!((reply.status, reply.text()), (500, ""));
        }
        client.send("2[\"note\",1]").await;
        running.expect("note 1").await;

        client.upgrade(async |_| {}).await;
        let target = format!(
            "/socket.io/?EIO={}&transport=polling&sid={sid}",
            protocol.as_str()
        );
        refused(&running, "GET", &target, 3).await;
        refused(&running, "POST", &target, 3).await;
        client.send("2[\"note\",2]").await;
        running.expect("note 2").await;
    }
}

#[tokio::test]
async fn refused_upgrades_get_an_http_response() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let sid = client.polling().sid.clone();
    for (query, code) in [
        ("EIO=4&transport=abc".to_owned(), 0),
        ("EIO=4&transport=websocket&sid=abc".to_owned(), 1),
        ("EIO=4&transport=polling".to_owned(), 3),
        (format!("EIO=3&transport=websocket&sid={sid}"), 3),
        (format!("EIO=4&transport=polling&sid={sid}"), 3),
        ("EIO=5&transport=websocket".to_owned(), 5),
        ("transport=websocket".to_owned(), 5),
    ] {
        let target = format!("/socket.io/?{query}");
        let refused = Ws::upgrade(running.address, &target, Protocol::V4).await;
        let Err(reply) = refused else {
            panic!("{query} was accepted");
        };
        assert_eq!((reply.status, reply.text()), (400, CODES[code]), "{query}");
        assert_eq!(reply.header("content-type").as_deref(), Some("text/html"));
        assert_eq!(reply.header("connection").as_deref(), Some("close"));
    }
    client.send("2[\"note\",1]").await;
    running.expect("note 1").await;
}

#[tokio::test]
async fn invalid_websocket_handshakes_are_refused() {
    let running = Running::start(Config::default()).await;
    let target = "/socket.io/?EIO=4&transport=websocket";
    let upgrade = ("Upgrade", "websocket");
    let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let version = ("Sec-WebSocket-Version", "13");
    for headers in [
        &[upgrade, version][..],
        &[upgrade, version, ("Sec-WebSocket-Key", "short")],
        &[upgrade, version, key],
        &[upgrade, key, ("Sec-WebSocket-Version", "8")],
    ] {
        let reply = request_with(running.address, "GET", target, headers, b"").await;
        assert_eq!(reply.status, 400, "{headers:?}");
    }
    assert_eq!(running.server.sessions(), 0);
}

/// HTTP/1.0 has no upgrades: the client is told so at once, with a session and without.
#[tokio::test]
async fn upgrades_of_http_1_0_are_refused() {
    let running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let session = client.polling().target("websocket");
    for target in ["/socket.io/?EIO=4&transport=websocket", session.as_str()] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let head = format!(
            "GET {target} HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(Reply::parse(&answer).status, 400, "{target}");
    }
    client.send("2[\"echo\",1]").await;
    assert_eq!(client.receive().await, "2[\"echo\",1]");
}
