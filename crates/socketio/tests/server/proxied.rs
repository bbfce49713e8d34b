//! Connections through trusted proxies and others.

use std::net::SocketAddr;
use std::sync::Arc;

use mynah_front::{Admission, Bounds, ListenerOptions, Proxies, Refusal};
use mynah_socketio::{Config, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::app::Running;
use crate::client::{Reply, Ws};
use crate::within;

const TARGET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A server whose only trusted proxy is 127.0.0.1. If `sessions_per_address` is 0, there is no limit.
async fn start(proxy_protocol: bool, sessions_per_address: usize) -> Running {
    let admission = Arc::new(Admission::new(Bounds {
        sessions: 0,
        sessions_per_address,
        ..Bounds::default()
    }));
    let options = ListenerOptions {
        handshake_timeout_ms: 300,
        proxies: Proxies::parse(&["127.0.0.1"]).unwrap(),
        proxy_protocol,
        admission: admission.clone(),
        ..ListenerOptions::default()
    };
    let config = Config {
        admission,
        ..Config::default()
    };
    Running::start_with(config, options).await
}

/// A connection from `from` on which `header` has been sent.
async fn dial(running: &Running, from: &str, header: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    let mut stream = within(socket.connect(running.address)).await.unwrap();
    // The server may have closed already.
    let _ = stream.write_all(header).await;
    stream
}

/// The PROXY header for a client, in version 1 or 2.
fn header(client: &str, version_2: bool) -> Vec<u8> {
    if !version_2 {
        return format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n").into_bytes();
    }
    let client: std::net::Ipv4Addr = client.parse().unwrap();
    let fields = [&client.octets()[..], &[127, 0, 0, 1, 0x12, 0x67, 0, 80]].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &fields].concat()
}

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

async fn enter(running: &mut Running, stream: TcpStream) -> (Ws, String) {
    let mut ws = within(Ws::over(stream, TARGET, Protocol::V4, "")).await.unwrap();
    ws.text("40").await;
    let socket = running.socket().await;
    (ws, socket.address().to_string())
}

/// Checks that the connection ends without a response.
async fn closed(mut stream: TcpStream) {
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert_eq!(String::from_utf8_lossy(&answer), "");
}

#[tokio::test]
async fn the_header_of_a_trusted_proxy_names_the_client() {
    for version_2 in [false, true] {
        let mut running = start(true, 0).await;
        let stream = dial(&running, "127.0.0.1", &header("198.51.100.7", version_2)).await;
        assert_eq!(enter(&mut running, stream).await.1, "198.51.100.7:4711");
    }
    // A health check of the proxy itself.
    let mut running = start(true, 0).await;
    let stream = dial(&running, "127.0.0.1", LOCAL).await;
    assert!(enter(&mut running, stream).await.1.starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn the_header_is_required_from_trusted_proxies_and_refused_from_others() {
    let running = start(true, 0).await;
    closed(dial(&running, "127.0.0.2", &header("198.51.100.7", true)).await).await;
    closed(dial(&running, "127.0.0.2", b"").await).await;
    assert_eq!(running.admission.refused(Refusal::Untrusted), 2);
    // The trusted proxy must send one.
    closed(dial(&running, "127.0.0.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await).await;
    closed(dial(&running, "127.0.0.1", b"PROXY TCP4 nobody nobody 1 2\r\n").await).await;
    assert_eq!(running.admission.refused(Refusal::ProxyHeader), 2);
    assert_eq!(running.server.sessions(), 0);
}

/// If the server does not expect the header, it is an invalid request.
#[tokio::test]
async fn an_unexpected_header_is_an_invalid_request() {
    let running = start(false, 0).await;
    let mut stream = dial(&running, "127.0.0.1", &header("198.51.100.7", true)).await;
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert_eq!(Reply::parse(&answer).status, 400);
    running
        .until(|it| it.admission.refused(Refusal::Header) == 1)
        .await;
}

#[tokio::test]
async fn a_missing_header_ends_the_connection() {
    let running = start(true, 0).await;
    for header in [
        &b""[..],
        b"P",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
        b"PROXY TCP4 198.51.100.7",
    ] {
        let mut stream = dial(&running, "127.0.0.1", header).await;
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
    }
    assert_eq!(running.admission.refused(Refusal::HandshakeTimeout), 4);
}

#[tokio::test]
async fn the_limits_apply_to_the_address_in_the_header() {
    let mut running = start(true, 1).await;
    let stream = dial(&running, "127.0.0.1", &header("198.51.100.7", true)).await;
    let (_first, _) = enter(&mut running, stream).await;
    let stream = dial(&running, "127.0.0.1", &header("198.51.100.7", false)).await;
    let refused = Ws::over(stream, TARGET, Protocol::V4, "").await;
    assert!(refused.is_err_and(|reply| reply.status == 429));
    let stream = dial(&running, "127.0.0.1", &header("198.51.100.8", true)).await;
    enter(&mut running, stream).await;
}

/// The connections of a proxy belong to many clients, and are not limited as those of one address.
#[tokio::test]
async fn a_proxy_may_have_many_http_connections() {
    for proxy_protocol in [false, true] {
        let running = start(proxy_protocol, 1).await;
        let mut open = Vec::new();
        for _ in 0..200 {
            let header = if proxy_protocol { LOCAL } else { b"" };
            let mut stream = dial(&running, "127.0.0.1", header).await;
            stream
                .write_all(b"GET /socket.io/ HTTP/1.1\r\nHost: x\r\n\r\n")
                .await
                .unwrap();
            assert_ne!(within(stream.read(&mut [0; 100])).await.unwrap(), 0);
            open.push(stream);
        }
        assert_eq!(running.admission.refused(Refusal::Address), 0);
    }
}
