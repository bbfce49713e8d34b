//! The memory of an idle connection, and the cost of connecting, counted exactly: the bytes and the number of
//! allocations of the server's thread.

#![allow(clippy::unwrap_used, reason = "a test that unwraps a failure has failed")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use allocation_counter::AllocationInfo;
use hyper::HeaderMap;
use mynah_front::{Admission, Bounds, Listener, ListenerOptions};
use mynah_socketio::{
    BoxFuture, Config, ConnectRefused, DisconnectReason, Event, Handler, Handshake, Namespaces, Server,
    Socket,
};
use mynah_wire::ws::{Opcode, masked_frame};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;

/// The first connections fill what all connections share, and are not counted.
const FIRST: usize = 100;
const COUNTED: usize = 1_000;

struct Quiet;

impl Namespaces for Quiet {
    fn trim(&self, handshake: &mut Handshake) {
        handshake.headers = HeaderMap::new();
    }

    fn connect(
        &self,
        _: &Socket,
        _: &Handshake,
        _: Option<&RawValue>,
    ) -> Result<Box<dyn Handler>, ConnectRefused> {
        Ok(Box::new(Self))
    }
}

impl Handler for Quiet {
    fn event(&mut self, _: Event<'_>) -> Option<BoxFuture> {
        None
    }

    fn disconnected(&mut self, _: DisconnectReason) {}
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What clients do once they are connected.
#[derive(Clone, Copy, PartialEq)]
enum Clients {
    Silent,
    /// They send a part of a request.
    Slow,
    Websockets,
    /// They open a session on polling with large headers, and then do nothing.
    Opened,
}

/// Connects as many clients as it is asked for, and keeps them.
async fn connect(
    address: SocketAddr,
    tls: Option<ClientConfig>,
    clients: Clients,
    asked: Receiver<usize>,
    done: Sender<()>,
) {
    let connector = tls.map(|config| TlsConnector::from(Arc::new(config)));
    let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
    for count in asked {
        for _ in 0..count {
            let stream = TcpStream::connect(address).await.unwrap();
            kept.push(match (&connector, clients) {
                (_, Clients::Silent) => Box::new(stream),
                (_, Clients::Slow) => {
                    let mut stream = stream;
                    stream
                        .write_all(b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: localhost\r\nX")
                        .await
                        .unwrap();
                    Box::new(stream)
                }
                (_, Clients::Opened) => {
                    open(stream).await;
                    continue;
                }
                (None, _) => Box::new(join(stream).await),
                (Some(connector), _) => {
                    let name = ServerName::try_from("localhost").unwrap();
                    Box::new(join(connector.connect(name, stream).await.unwrap()).await)
                }
            });
        }
        done.send(()).unwrap();
    }
}

/// Opens a session, and closes the connection.
async fn open(mut stream: TcpStream) {
    let much = "x".repeat(6_000);
    let head = format!(
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Much: {much}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut came = Vec::new();
    stream.read_to_end(&mut came).await.unwrap();
    assert!(
        came.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&came)
    );
}

async fn join<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> S {
    let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut came = Vec::new();
    // Clients send nothing before the response that switches the protocol.
    read_until(&mut stream, &mut came, b"\r\n\r\n").await;
    stream
        .write_all(&masked_frame(Opcode::Text, b"40", [1, 2, 3, 4]))
        .await
        .unwrap();
    stream.flush().await.unwrap();
    read_until(&mut stream, &mut came, b"40{\"sid\"").await;
    stream
}

/// Reads until `wanted` has been received.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), came: &mut Vec<u8>, wanted: &[u8]) {
    while !came.windows(wanted.len()).any(|window| window == wanted) {
        assert_ne!(
            stream.read_buf(came).await.unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(came)
        );
    }
}

fn certified() -> (ServerConfig, ClientConfig) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(ring::default_provider());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, client)
}

/// The bytes that one connection holds, and the allocations that connecting took.
fn measured(secured: bool, clients: Clients) -> (i64, u64) {
    let (server_tls, client_tls) = certified();
    let admission = Arc::new(Admission::new(Bounds {
        sessions: 10_000,
        sessions_per_address: 10_000,
        ..Bounds::default()
    }));
    let options = ListenerOptions {
        admission: admission.clone(),
        tls: secured.then(|| Arc::new(server_tls)),
        header_timeout_ms: 600_000,
        handshake_timeout_ms: 600_000,
        ..ListenerOptions::default()
    };
    let config = Config {
        admission,
        keep_handshake: false,
        ..Config::default()
    };
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(config, Arc::new(Quiet));
    let serving = server.clone();
    let serve = move |request, peer| {
        let server = serving.clone();
        async move { server.handle(request, peer).await }
    };
    runtime.spawn(Listener::new(listener, options).serve(serve, std::future::pending()));

    let (ask, asked) = channel();
    let (done, told) = channel();
    let client_tls = secured.then_some(client_tls);
    let client =
        thread::spawn(move || self::runtime().block_on(connect(address, client_tls, clients, asked, done)));
    let alive = runtime.metrics();
    let more = |count: usize, tasks: usize| {
        ask.send(count).unwrap();
        runtime.block_on(async {
            // Each connection has one task: that of its session, or its own.
            let mut all = false;
            while !all || alive.num_alive_tasks() != tasks {
                all |= told.try_recv().is_ok();
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        });
    };
    more(FIRST, 1 + FIRST);
    let AllocationInfo {
        count_total,
        bytes_current,
        ..
    } = allocation_counter::measure(|| more(COUNTED, 1 + FIRST + COUNTED));
    drop(ask);
    client.join().unwrap();
    (bytes_current / COUNTED as i64, count_total / COUNTED as u64)
}

/// The limits are the measured values plus a tenth: the memory of a connection is a budget.
#[test]
fn connections_are_small() {
    for (what, secured, clients, most_bytes, most_allocations) in [
        ("a WebSocket", false, Clients::Websockets, 1_360, 53),
        ("a WebSocket over TLS", true, Clients::Websockets, 5_150, 184),
        ("one that says nothing", false, Clients::Silent, 1_550, 3),
        ("one that says nothing for TLS", true, Clients::Silent, 3_900, 6),
        ("a session that never connects", false, Clients::Opened, 1_190, 49),
        ("one that is slow", false, Clients::Slow, 1_620, 4),
    ] {
        let (bytes, allocations) = measured(secured, clients);
        println!("{what}: {bytes} bytes, {allocations} allocations");
        assert!(bytes <= most_bytes, "{what}: {bytes} bytes");
        assert!(
            allocations <= most_allocations,
            "{what}: {allocations} allocations"
        );
    }
}
