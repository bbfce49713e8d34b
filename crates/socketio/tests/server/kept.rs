//! Connections that carry several requests: bodies that are not needed, and requests that follow others.

use std::time::Duration;

use mynah_front::ListenerOptions;
use mynah_socketio::{Config, Protocol, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::Running;
use crate::client::{Client, Reply};
use crate::within;

/// A connection that reads only after it has written everything, as some proxies and programs do.
struct Kept {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Kept {
    async fn connect(running: &Running) -> Self {
        Self {
            stream: TcpStream::connect(running.address).await.unwrap(),
            unread: Vec::new(),
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    async fn ask(&mut self, method: &str, target: &str, body: &[u8]) {
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        self.write(head.as_bytes()).await;
        self.write(body).await;
    }

    /// The next response.
    async fn answer(&mut self) -> Reply {
        let end = loop {
            let end = self.unread.windows(4).position(|window| window == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => self.read().await,
            }
        };
        let length: usize = Reply::parse(&self.unread[..end])
            .header("content-length")
            .unwrap()
            .parse()
            .unwrap();
        while self.unread.len() < end + length {
            self.read().await;
        }
        let rest = self.unread.split_off(end + length);
        Reply::parse(&std::mem::replace(&mut self.unread, rest))
    }

    async fn read(&mut self) {
        let n = within(self.stream.read_buf(&mut self.unread)).await.unwrap();
        assert_ne!(n, 0, "the connection ended");
    }
}

const UNKNOWN: &str = "/socket.io/?EIO=4&transport=polling&sid=aaaaaaaaaaaaaaaaaaaa";

/// The head decides the response. It is sent when the body has been read, and then the connection can be used
/// for the next request.
#[tokio::test]
async fn an_early_response_waits_for_the_body_and_the_connection_is_kept() {
    let running = Running::start(Config::default()).await;
    let mut kept = Kept::connect(&running).await;
    for bytes in [0, 1_000, 100_000, 900_000] {
        kept.ask("POST", UNKNOWN, &vec![b'x'; bytes]).await;
        let answer = kept.answer().await;
        assert_eq!(answer.status, 400, "{bytes}");
        assert_eq!(answer.header("connection"), None, "{bytes}");
    }
}

/// A body that is too large to be read in vain ends the connection, but the client that has written all of it
/// gets the response.
#[tokio::test]
async fn the_response_to_a_far_too_large_body_is_not_lost() {
    let running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let session = client.polling().target("polling");
    for (target, status) in [(UNKNOWN, 400), (session.as_str(), 413)] {
        let mut kept = Kept::connect(&running).await;
        kept.ask("POST", target, &vec![b'x'; 30_000_000]).await;
        let answer = kept.answer().await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
    }
}

/// The response does not wait for a body that does not arrive.
#[tokio::test]
async fn the_response_does_not_wait_for_a_missing_body() {
    let running = Running::start(Config::default()).await;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut kept = Kept::connect(&running).await;
        let head = format!("POST {UNKNOWN} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n{expect}\r\n");
        kept.write(head.as_bytes()).await;
        let answer = kept.answer().await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
    }
}

/// A POST on the connection whose GET is pending: the GET is answered, so that the POST can be handled.
#[tokio::test]
async fn a_request_after_a_pending_poll_is_handled() {
    for together in [false, true] {
        for protocol in [Protocol::V3, Protocol::V4] {
            let running = Running::start(Config::default()).await;
            let mut client = Client::connect(&running, protocol, Transport::Polling).await;
            let target = client.polling().target("polling");
            let body = client.polling().body(&["42[\"echo\",1]"]);
            let get = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let post = format!(
                "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut kept = Kept::connect(&running).await;
            if together {
                kept.write(format!("{get}{post}").as_bytes()).await;
            } else {
                kept.write(get.as_bytes()).await;
                // Wait until the GET has arrived. A second GET on another connection would end the session,
                // so there is no way to ask; usually this is enough.
                tokio::time::sleep(Duration::from_millis(50)).await;
                kept.write(post.as_bytes()).await;
            }
            let noop = kept.answer().await;
            assert!(noop.text().ends_with('6'), "{noop:?}");
            assert_eq!(kept.answer().await.text(), "ok");
            kept.write(get.as_bytes()).await;
            assert!(kept.answer().await.text().ends_with("42[\"echo\",1]"));
        }
    }
}

/// The query of every request is escaped, wherever it starts on the connection and however it is split;
/// nothing else is.
#[tokio::test]
async fn every_query_on_a_connection_may_hold_quotes_and_angle_brackets() {
    let running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let target = format!("{}&user={{\"name\":\"<a>\"}}", client.polling().target("polling"));
    let body = client
        .polling()
        .body(&["42[\"echo\",\"<1>\"]", "42[\"echo\",\"<2>\"]"]);
    let quoted = "X-Quoted: \"<>\"\r\nHost: x\r\n";
    let get = format!("GET {target} HTTP/1.1\r\n{quoted}\r\n");
    let length = body.len();
    let post = format!("POST {target} HTTP/1.1\r\n{quoted}Content-Length: {length}\r\n\r\n{body}");
    let (first, second) = body.split_at(5);
    let (m, n) = (first.len(), second.len());
    let chunks = format!("{m:x}\r\n{first}\r\n{n:x};\"<\r\n{second}\r\n0\r\n\r\n");
    let chunked = format!("POST {target} HTTP/1.1\r\n{quoted}Transfer-Encoding: chunked\r\n\r\n{chunks}");
    let upgrade = format!("GET {target} HTTP/1.1\r\n{quoted}Connection: Upgrade\r\nUpgrade: x\r\n\r\n");
    let mut kept = Kept::connect(&running).await;
    for (post, piece) in [
        (&post, 1),
        (&post, 7),
        (&post, usize::MAX),
        (&chunked, 7),
        (&chunked, usize::MAX),
    ] {
        for get in [&get, &upgrade] {
            for piece in post.as_bytes().chunks(piece) {
                kept.write(piece).await;
            }
            let answer = kept.answer().await;
            assert_eq!((answer.status, answer.text()), (200, "ok"), "{piece}");
            // Empty lines before a head are ignored.
            kept.write(format!("\r\n{get}").as_bytes()).await;
            let answer = kept.answer().await;
            assert!(
                answer
                    .text()
                    .ends_with("42[\"echo\",\"<1>\"]\u{1e}42[\"echo\",\"<2>\"]"),
                "{answer:?}"
            );
        }
    }
    // All requests at once, and in pieces.
    let trailers = chunked.replace("\r\n0\r\n\r\n", "\r\n0\r\nX-Trailer: \"<>\"\r\n\r\n");
    let empty = format!("GET {target} HTTP/1.1\r\n{quoted}Content-Length: 0\r\n\r\n");
    let requests = [
        &post, &chunked, &get, &trailers, &upgrade, &trailers, &chunked, &empty, &post,
    ];
    let all = requests.map(String::as_str).concat();
    for piece in [1, 7, usize::MAX] {
        for piece in all.as_bytes().chunks(piece) {
            kept.write(piece).await;
        }
        for request in requests {
            let answer = kept.answer().await;
            let ok = request.starts_with("POST");
            assert_eq!((answer.status, answer.text() == "ok"), (200, ok), "{answer:?}");
        }
        // The echo of the last request.
        kept.write(get.as_bytes()).await;
        assert!(kept.answer().await.text().ends_with("42[\"echo\",\"<2>\"]"));
    }
}

/// Some programs end their direction of the connection after their last request.
#[tokio::test]
async fn a_client_that_ends_its_direction_after_a_request_gets_the_response() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let target = client.polling().target("polling");
    let body = client.polling().body(&["42[\"gate\",1]"]);
    let post = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let chunked = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let old = format!(
        "POST {target} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let open = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n";
    let pipelined = format!("{open}{post}");
    for (request, waits, answers) in [
        (open, false, 1),
        (post.as_str(), true, 1),
        (&chunked, true, 1),
        (&old, true, 1),
        (&pipelined, true, 2),
    ] {
        let mut kept = Kept::connect(&running).await;
        kept.write(request.as_bytes()).await;
        kept.stream.shutdown().await.unwrap();
        if waits {
            running.expect("at the gate 1").await;
            running.gate.add_permits(1);
            running.expect("through the gate 1").await;
        }
        for _ in 0..answers {
            assert_eq!(kept.answer().await.status, 200, "{request}");
        }
        let end = within(kept.stream.read_u8()).await;
        assert!(end.is_err(), "the connection ends");
    }
}

/// A client that was closed looks like one that ends its direction. If it does so while its GET is pending,
/// it counts as disconnected.
#[tokio::test]
async fn a_client_that_ends_its_direction_while_its_get_is_pending_is_disconnected() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let mut kept = Kept::connect(&running).await;
    let target = client.polling().target("polling");
    kept.ask("GET", &target, b"").await;
    kept.stream.shutdown().await.unwrap();
    assert_eq!(kept.answer().await.status, 400);
    running.expect("/ disconnected: transport close").await;
    running.until_empty().await;
}

/// A head that has started must be complete within its timeout. A kept connection without a head has a
/// timeout of its own.
#[tokio::test]
async fn a_kept_connection_has_its_own_timeout() {
    let options = ListenerOptions {
        header_timeout_ms: 100,
        ..ListenerOptions::default()
    };
    let running = Running::start_with(Config::default(), options).await;
    let mut kept = Kept::connect(&running).await;
    kept.ask("GET", "/socket.io/", b"").await;
    assert_eq!(kept.answer().await.status, 400);
    // Longer than a head may take.
    let nothing = tokio::time::timeout(Duration::from_millis(400), kept.stream.read_u8()).await;
    assert!(nothing.is_err(), "the connection is kept");
    kept.ask("GET", "/socket.io/", b"").await;
    assert_eq!(kept.answer().await.status, 400);
    kept.write(b"GET /socket.io/ HT").await;
    let mut rest = Vec::new();
    within(kept.stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
}
