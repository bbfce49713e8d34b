//! The memory that one connection, and one address, can make the server use. Clients that read nothing send
//! every sort of packet as fast as the server accepts it, on either transport, and the allocations of the
//! server's thread are counted exactly.

#![allow(clippy::unwrap_used, reason = "a test that unwraps a failure has failed")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;
use std::time::Duration;

use mynah_front::{Admission, Bounds, Listener, ListenerOptions};
use mynah_socketio::{
    BoxFuture, Config, ConnectRefused, DisconnectReason, Event, Handler, Handshake, Namespaces, Server,
    Socket,
};
use mynah_wire::ws::{Opcode, masked_frame};
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// The number of clients of one address.
const CLIENTS: usize = 20;
/// If the server accepts and sends nothing for this long, the client continues.
const MOMENT: Duration = Duration::from_millis(100);
/// The number of bytes that a client tries to send.
const SENT_BYTES: usize = 4_000_000;
/// The limit of one session, with its buffers: an incomplete message (1 MB), and the queue (1 MiB, nearly
/// twice that for the smallest packets).
const MOST_OF_ONE: i64 = 3_500_000;
/// The limit of an address in the second run.
const BYTES_PER_ADDRESS: usize = 4_000_000;
/// The memory of a client that is not counted: its session, hyper's buffers for up to five connections, and 4
/// KiB of each sort.
const UNCOUNTED: i64 = 200_000;

/// Answers every event at once, or never.
struct App {
    answers: bool,
    socket: Option<Socket>,
}

impl Namespaces for App {
    fn connect(
        &self,
        socket: &Socket,
        _: &Handshake,
        _: Option<&RawValue>,
    ) -> Result<Box<dyn Handler>, ConnectRefused> {
        if socket.namespace() != "/" {
            return Err(ConnectRefused::invalid_namespace());
        }
        Ok(Box::new(Self {
            answers: self.answers,
            socket: Some(socket.clone()),
        }))
    }
}

impl Handler for App {
    fn event(&mut self, event: Event<'_>) -> Option<BoxFuture> {
        if !self.answers {
            // Like a register that waits for a backend which does not answer.
            return Some(Box::pin(std::future::pending()));
        }
        if let (Some(socket), Some(ack)) = (&self.socket, event.ack) {
            socket.ack(ack, event.args);
        }
        None
    }

    fn disconnected(&mut self, _: DisconnectReason) {}
}

/// What a client keeps sending.
#[derive(Debug, Clone, Copy)]
enum Flood {
    /// This Engine.IO packet, again and again.
    Packets(&'static str),
    /// A packet that announces ten attachments, and nine attachments of 900,000 bytes.
    Attachments,
    /// A message or body without its last byte.
    Unfinished,
    /// WebSocket pings, with an event in between.
    WsPings,
}

const FLOODS: [Flood; 13] = [
    Flood::Packets("2"),
    Flood::Packets("2probe"),
    Flood::Packets("3"),
    Flood::Packets("5"),
    Flood::Packets("6"),
    Flood::Packets("40"),
    Flood::Packets("40/x,"),
    Flood::Packets("42[\"e\"]"),
    Flood::Packets("420[\"e\",\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"]"),
    Flood::Packets("430[]"),
    Flood::Attachments,
    Flood::Unfinished,
    Flood::WsPings,
];

/// The bytes of a flood on a WebSocket.
fn frames(flood: Flood) -> Vec<u8> {
    let frame = |opcode, payload: &[u8]| masked_frame(opcode, payload, [1, 2, 3, 4]);
    match flood {
        Flood::Packets(packet) => frame(Opcode::Text, packet.as_bytes()).repeat(50_000),
        Flood::Attachments => {
            let mut bytes = frame(Opcode::Text, b"4510-[\"e\",{\"_placeholder\":true,\"num\":0}]");
            bytes.extend(frame(Opcode::Binary, &[4; 900_000]).repeat(9));
            bytes
        }
        Flood::Unfinished => {
            let mut bytes = frame(Opcode::Text, &[b'4'; 1_000_000]);
            bytes.pop();
            bytes
        }
        Flood::WsPings => {
            let one = [
                frame(Opcode::Ping, &[b'x'; 125]),
                frame(Opcode::Text, b"420[\"e\"]"),
            ]
            .concat();
            one.repeat(30_000)
        }
    }
}

/// The packets of a flood in a polling body.
fn body(eio: u8, packet: &str) -> Vec<u8> {
    let one = match eio {
        3 => format!("{}:{packet}", packet.len()),
        _ => format!("{packet}\x1e"),
    };
    let mut body = one.repeat(999_000 / one.len()).into_bytes();
    if eio == 4 {
        body.pop();
    }
    body
}

/// Sends as much as the server accepts, and reads nothing.
async fn push(stream: &mut TcpStream, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(SENT_BYTES)];
    // The server may have closed, or accept no more: that is what the test wants.
    let _ = timeout(MOMENT, stream.write_all(bytes)).await;
}

/// Sends a request, and waits a moment for the response: there is none to a body whose handler is pending.
async fn ask(address: SocketAddr, request: &str, body: &[u8], moment: Duration) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    push(&mut stream, body).await;
    let mut answer = [0; 1_000];
    let read = timeout(moment, stream.read(&mut answer)).await;
    let came = read.map_or(0, Result::unwrap_or_default);
    (stream, String::from_utf8_lossy(&answer[..came]).into_owned())
}

/// A client that floods. Its connections must be kept.
async fn flood(address: SocketAddr, eio: u8, polling: bool, flood: Flood) -> Vec<TcpStream> {
    if !polling {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /socket.io/?EIO={eio}&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        // If the other clients of the address hold all its memory, the server closes this connection.
        let _ = stream.write_all(head.as_bytes()).await;
        let connect = masked_frame(Opcode::Text, b"40", [1, 2, 3, 4]);
        let _ = stream.write_all(&connect).await;
        push(&mut stream, &frames(flood)).await;
        return vec![stream];
    }
    let target = format!("/socket.io/?EIO={eio}&transport=polling");
    let (mut first, open) = ask(address, &format!("GET {target}"), b"", Duration::from_secs(30)).await;
    let sid = open
        .split("\"sid\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let post = format!("POST {target}&sid={sid}");
    let connect = if eio == 3 { "2:40" } else { "40" };
    let mut kept = vec![ask(address, &post, connect.as_bytes(), MOMENT).await.0];
    match flood {
        Flood::Packets(packet) => {
            for _ in 0..3 {
                kept.push(ask(address, &post, &body(eio, packet), MOMENT).await.0);
            }
            // The responses are requested too, and not read.
            let get = format!("GET {target}&sid={sid} HTTP/1.1\r\nHost: x\r\n\r\n");
            push(&mut first, get.as_bytes()).await;
        }
        _ => {
            let head = format!("{post} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
            push(&mut first, head.as_bytes()).await;
            push(&mut first, &[b'4'; 999_999]).await;
        }
    }
    kept.push(first);
    kept
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The bytes that the server holds after all clients have sent what it accepts.
fn held(answers: bool, bytes_per_address: usize, eio: u8, polling: bool, kind: Flood) -> i64 {
    let admission = Arc::new(Admission::new(Bounds {
        bytes_per_address,
        ..Bounds::default()
    }));
    let config = Config {
        admission: admission.clone(),
        ..Config::default()
    };
    let options = ListenerOptions {
        admission,
        ..ListenerOptions::default()
    };
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let app = App {
        answers,
        socket: None,
    };
    let server = Server::new(config, Arc::new(app));
    let serving = server.clone();
    let serve = move |request, peer| {
        let server = serving.clone();
        async move { server.handle(request, peer).await }
    };
    runtime.spawn(Listener::new(listener, options).serve(serve, std::future::pending()));
    let (done, sent) = channel();
    let (leave, left) = channel::<()>();
    let clients = thread::spawn(move || {
        self::runtime().block_on(async {
            let floods = (0..CLIENTS).map(|_| tokio::spawn(flood(address, eio, polling, kind)));
            let mut kept = Vec::new();
            for flood in floods.collect::<Vec<_>>() {
                kept.push(flood.await.unwrap());
            }
            done.send(()).unwrap();
            // Wait until the server's memory has been measured.
            let _ = left.recv();
        });
    });
    let taken = allocation_counter::measure(|| {
        runtime.block_on(async {
            while let Err(TryRecvError::Empty) = sent.try_recv() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // The server still reads what is in the kernel's buffers.
            tokio::time::sleep(Duration::from_millis(100)).await;
        });
    });
    drop(leave);
    clients.join().unwrap();
    taken.bytes_current
}

#[test]
fn no_packets_make_a_connection_or_an_address_exceed_its_memory_limit() {
    let measured = |kind: Flood| {
        let mut most = (0, 0);
        for (answers, eio, polling) in [
            (true, 3, true),
            (true, 4, true),
            (true, 3, false),
            (true, 4, false),
            (false, 4, true),
            (false, 4, false),
        ] {
            let what = format!("{kind:?}, answers {answers}, EIO {eio}, polling {polling}");
            let one = held(answers, 0, eio, polling, kind) / CLIENTS as i64;
            assert!(one <= MOST_OF_ONE, "{what}: {one} bytes for one");
            let all = held(answers, BYTES_PER_ADDRESS, eio, polling, kind);
            let bound = BYTES_PER_ADDRESS as i64 + CLIENTS as i64 * UNCOUNTED;
            assert!(all <= bound, "{what}: {all} bytes for all");
            most = (one.max(most.0), all.max(most.1));
        }
        println!(
            "{kind:?}: one connection {} bytes, {CLIENTS} of one address {} bytes",
            most.0, most.1
        );
    };
    thread::scope(|scope| {
        for kind in FLOODS {
            scope.spawn(move || measured(kind));
        }
    });
}
