//! The server over TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mynah_front::{ListenerOptions, Refusal};
use mynah_socketio::{Config, Encoded, Protocol};
use mynah_wire::ws::{Opcode, masked_frame};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::app::{Running, raw};
use crate::client::{Got, Reply, Ws};
use crate::within;

const TARGET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A server with its own certificate, and the roots that a client needs to trust it.
struct Secured {
    running: Running,
    roots: RootCertStore,
}

impl Secured {
    async fn start(config: Config) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let options = ListenerOptions {
            tls: Some(Arc::new(tls)),
            handshake_timeout_ms: 500,
            admission: config.admission.clone(),
            ..ListenerOptions::default()
        };
        let running = Running::start_with(config, options).await;
        Self { running, roots }
    }

    async fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.running.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        version: &'static SupportedProtocolVersion,
        alpn: &[&str],
    ) -> io::Result<TlsStream<S>> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }

    async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        version: &'static SupportedProtocolVersion,
    ) -> Ws<TlsStream<S>> {
        let stream = self.connect(stream, version, &[]).await.unwrap();
        let mut ws = Ws::over(stream, TARGET, Protocol::V4, "").await.unwrap();
        ws.text("40").await;
        assert!(matches!(ws.next().await, Got::Text(open) if open.starts_with('0')));
        assert!(matches!(ws.next().await, Got::Text(joined) if joined.starts_with("40")));
        ws
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut Ws<S>, text: &str) {
    ws.text(&format!("42[\"echo\",\"{text}\"]")).await;
    assert_eq!(ws.next().await, Got::Text(format!("42[\"echo\",\"{text}\"]")));
}

#[tokio::test]
async fn websockets_of_both_versions_carry_messages_of_all_sizes() {
    let server = Secured::start(Config::default()).await;
    for version in [&TLS12, &TLS13] {
        let mut ws = server.websocket(server.tcp().await, version).await;
        for size in [0, 1, 1_000, 16_000, 16_384, 40_000, 500_000] {
            echo(&mut ws, &"x".repeat(size)).await;
        }
        ws.frame(Opcode::Close, &1_000_u16.to_be_bytes()).await;
        assert_eq!(ws.next().await, Got::Close(None));
        // The server has announced the end of the stream; otherwise the client's rustls would return an
        // error.
        assert_eq!(within(ws.stream.read(&mut [0; 10])).await.unwrap(), 0);
    }
    server.running.until_empty().await;
}

#[tokio::test]
async fn polling_works_on_a_kept_connection() {
    let server = Secured::start(Config::default()).await;
    let mut stream = server
        .connect(server.tcp().await, &TLS13, &["http/1.1"])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut ask = async |method: &str, query: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        loop {
            assert_ne!(within(stream.read_buf(&mut answer)).await.unwrap(), 0);
            if answer.windows(4).any(|window| window == b"\r\n\r\n") {
                let reply = Reply::parse(&answer);
                if reply.header("content-length") == Some(reply.body.len().to_string()) {
                    return reply.text().to_owned();
                }
            }
        }
    };
    let open = ask("GET", "", "").await;
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    let query = format!("&sid={}", open["sid"].as_str().unwrap());
    assert_eq!(ask("POST", &query, "40").await, "ok");
    assert!(ask("GET", &query, "").await.starts_with("40{"));
    // Larger than a TLS record, and than hyper reads at once.
    let large = format!("42[\"echo\",\"{}\"]", "y".repeat(100_000));
    assert_eq!(ask("POST", &query, &large).await, "ok");
    assert_eq!(ask("GET", &query, "").await, large);
}

/// Many queued frames are written together: in fewer records, and so in fewer bytes.
#[tokio::test]
async fn frames_share_records() {
    let mut server = Secured::start(Config::default()).await;
    let tcp = Counted(server.tcp().await, 0);
    let mut ws = server.websocket(tcp, &TLS13).await;
    let socket = server.running.socket().await;
    let before = ws.stream.get_ref().0.1;
    let event = Encoded::event("n", &[raw("1")]);
    for _ in 0..1_000 {
        assert!(socket.send(&event));
    }
    for _ in 0..1_000 {
        assert_eq!(ws.next().await, Got::Text("42[\"n\",1]".into()));
    }
    // Each frame has 11 bytes; a record of its own would make that 33.
    let came = ws.stream.get_ref().0.1 - before;
    assert!(came < 12_000, "{came}");
}

/// Data that waits for a client is written as the client reads, to the last byte, although the client sends
/// nothing.
#[tokio::test]
async fn queued_data_is_written_to_its_end() {
    let config = Config {
        max_queue_bytes: 100_000_000,
        ..Config::default()
    };
    let mut server = Secured::start(config).await;
    let small = tokio::net::TcpSocket::new_v4().unwrap();
    small.set_recv_buffer_size(8_192).unwrap();
    let tcp = small.connect(server.running.address).await.unwrap();
    let mut ws = server.websocket(tcp, &TLS13).await;
    let socket = server.running.socket().await;
    let filler = format!("\"{}\"", "x".repeat(700_000));
    for n in 0..20 {
        assert!(socket.send(&Encoded::event("n", &[raw(&n.to_string()), raw(&filler)])));
    }
    for n in 0..20 {
        let expected = format!("42[\"n\",{n},{filler}]");
        assert!(ws.next().await == Got::Text(expected), "{n}");
    }
}

#[tokio::test]
async fn a_client_that_sends_byte_by_byte_is_understood() {
    let server = Secured::start(Config::default()).await;
    for version in [&TLS12, &TLS13] {
        let mut ws = server.websocket(Dripping(server.tcp().await), version).await;
        echo(&mut ws, &"z".repeat(20_000)).await;
    }
}

/// Many messages at once, with key updates between them.
#[tokio::test]
async fn key_updates_are_handled() {
    let server = Secured::start(Config::default()).await;
    let mut ws = server.websocket(server.tcp().await, &TLS13).await;
    for n in 0..20 {
        ws.stream.get_mut().1.refresh_traffic_keys().unwrap();
        let frame = |text: String| masked_frame(Opcode::Text, text.as_bytes(), [1, 2, 3, 4]);
        let frames: Vec<u8> = (0..50)
            .flat_map(|m| frame(format!("42[\"echo\",{n},{m}]")))
            .collect();
        ws.raw(&frames).await;
        for m in 0..50 {
            assert_eq!(ws.next().await, Got::Text(format!("42[\"echo\",{n},{m}]")));
        }
    }
}

#[tokio::test]
async fn a_slow_reader_is_closed_over_tls_too() {
    let config = Config {
        max_queue_bytes: 200_000,
        close_timeout_ms: 100,
        ..Config::default()
    };
    let mut server = Secured::start(config).await;
    let ws = server.websocket(server.tcp().await, &TLS13).await;
    let socket = server.running.socket().await;
    let filler = format!("\"{}\"", "x".repeat(10_000));
    let event = Encoded::event("n", &[raw(&filler)]);
    let mut sent = 0;
    while socket.send(&event) {
        sent += 1;
        assert!(sent < 10_000, "the queue has no limit");
        tokio::task::yield_now().await;
    }
    server.running.expect("/ disconnected: slow reader").await;
    drop(ws);
}

#[tokio::test]
async fn invalid_tls_ends_the_connection_with_an_alert() {
    let server = Secured::start(Config::default()).await;
    let mut plain = server.tcp().await;
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    within(plain.read_to_end(&mut answer)).await.unwrap();
    let reply = Reply::parse(&answer);
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("https://"), "{}", reply.text());
    assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string()));

    let mut garbage = server.tcp().await;
    garbage
        .write_all(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 9])
        .await
        .unwrap();
    let mut alert = Vec::new();
    let _ = within(garbage.read_to_end(&mut alert)).await;
    assert_eq!(alert.first(), Some(&0x15), "an alert");

    let error = server
        .connect(server.tcp().await, &TLS13, &["h2"])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    assert_eq!(server.running.admission.refused(Refusal::Tls), 3);
}

#[tokio::test]
async fn a_missing_handshake_ends_the_connection() {
    let server = Secured::start(Config::default()).await;
    for begun in [&b""[..], &[0x16, 3, 1, 2, 0, 1]] {
        let mut stream = server.tcp().await;
        stream.write_all(begun).await.unwrap();
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
    }
    assert_eq!(server.running.admission.refused(Refusal::HandshakeTimeout), 2);
    // A stream that ends during the handshake is closed at once.
    let mut stream = server.tcp().await;
    stream.write_all(&[0x16, 3, 1]).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = within(stream.read_to_end(&mut Vec::new())).await;
    server
        .running
        .until(|it| it.admission.refused(Refusal::Tls) == 1)
        .await;
}

/// Writes one byte at a time.
struct Dripping(TcpStream);

impl AsyncRead for Dripping {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dripping {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, &bytes[..1])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// Counts the bytes that arrive.
struct Counted(TcpStream, usize);

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let counted = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut counted.0).poll_read(cx, buf);
        counted.1 += buf.filled().len() - before;
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
