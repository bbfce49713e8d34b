//! A small Socket.IO client on one WebSocket, of either generation (Engine.IO 3 or 4).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use mynah_wire::socket::{self, Kind, Limits};
use mynah_wire::ws::{self, Message, Opcode, Role};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a test waits for something that must happen. It is far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Got {
    /// A frame, and whether it was a JSON string.
    Frame(Value, bool),
    /// The argument of an acknowledgement.
    Ack(u64, Value),
    /// The packet `41`.
    Disconnect,
    /// The WebSocket was closed.
    Closed,
}

/// A client on a stream, with what it has received and not returned yet.
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    decoder: ws::Decoder,
    got: VecDeque<Got>,
    next_ack: u64,
}

impl Client {
    /// Connects to the namespace `/`.
    pub(crate) async fn connect(address: SocketAddr, revision: u8) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::over(stream, revision, "").await.unwrap()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Connects on a stream, with further headers. The error is the head of a response that refuses it.
    pub(crate) async fn over(mut stream: S, revision: u8, headers: &str) -> Result<Self, String> {
        let request = format!(
            "GET /socket.io/?EIO={revision}&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&head).into_owned());
        }
        let mut client = Self {
            stream,
            decoder: ws::Decoder::new(Role::Client, 1 << 24),
            got: VecDeque::new(),
            next_ack: 0,
        };
        if revision == 4 {
            client.text("40").await;
        }
        Ok(client)
    }

    /// Sends one Engine.IO packet.
    pub(crate) async fn text(&mut self, packet: &str) {
        self.texts(&[packet.to_owned()]).await;
    }

    /// Sends packets in one write.
    pub(crate) async fn texts(&mut self, packets: &[String]) {
        let frames = packets
            .iter()
            .flat_map(|packet| ws::masked_frame(Opcode::Text, packet.as_bytes(), [1, 2, 3, 4]));
        // The server may have closed the connection; what it sent before must still be read.
        let _ = self.stream.write_all(&frames.collect::<Vec<u8>>()).await;
    }

    /// Sends a frame as a JSON string, as the clients of the replaced Node module do.
    pub(crate) async fn send(&mut self, frame: &Value) {
        self.text(&packet(frame)).await;
    }

    /// Sends a frame as an object with a callback, and returns the callback's argument.
    pub(crate) async fn ask(&mut self, frame: &Value) -> Value {
        let id = self.next_ack;
        self.next_ack += 1;
        self.text(&format!("42{id}[\"message\",{frame}]")).await;
        let mut before = VecDeque::new();
        loop {
            match self.next().await {
                Got::Ack(answered, data) if answered == id => {
                    before.append(&mut self.got);
                    self.got = before;
                    return data;
                }
                Got::Closed => panic!("closed before {frame} was answered"),
                other => before.push_back(other),
            }
        }
    }

    pub(crate) async fn register(&mut self, uid: &str, device: &str) -> Value {
        let data = json!({"uid": uid, "deviceid": device});
        let answer = self.ask(&json!({"type": 1, "data": data})).await;
        assert_eq!(answer["code"], 0, "{answer}");
        answer
    }

    /// Waits for the next frame and returns it.
    pub(crate) async fn frame(&mut self) -> Value {
        match self.next().await {
            Got::Frame(frame, _) => frame,
            other => panic!("expected a frame, not {other:?}"),
        }
    }

    /// Waits for what comes next and returns it.
    pub(crate) async fn next(&mut self) -> Got {
        loop {
            if let Some(got) = self.got.pop_front() {
                return got;
            }
            let mut buffer = vec![0; 65_536];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            match read.expect("the server sent nothing") {
                Ok(0) | Err(_) => self.got.push_back(Got::Closed),
                Ok(length) => self.read(&mut buffer[..length]),
            }
        }
    }

    /// Waits for bytes and returns them as text, without decoding WebSocket frames.
    pub(crate) async fn raw_message(&mut self) -> String {
        let mut buffer = vec![0; 65_536];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        let length = read.expect("the server sent nothing").unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn read(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(message) = self.decoder.decode(bytes, &mut at).unwrap() {
            match message {
                Message::Text(text) => self.got.extend(got(text)),
                Message::Close(_) => {
                    self.got.push_back(Got::Closed);
                    return;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

/// Encodes a frame as a JSON string in a `message` event.
pub(crate) fn packet(frame: &Value) -> String {
    format!("42[\"message\",{}]", Value::String(frame.to_string()))
}

/// Translates an Engine.IO packet; `None` if it is not of interest.
fn got(text: &str) -> Option<Got> {
    let text = text.strip_prefix('4')?;
    let packet = socket::decode(text, &Limits::default()).unwrap();
    match packet.kind {
        Kind::Event => {
            let (name, args) = socket::event_args(packet.payload.unwrap()).unwrap();
            assert_eq!((&*name, args.len()), ("message", 1));
            let value: Value = parsed(args[0]);
            Some(match value {
                Value::String(text) => Got::Frame(serde_json::from_str(&text).unwrap(), true),
                object => Got::Frame(object, false),
            })
        }
        Kind::Ack => {
            let args = socket::ack_args(packet.payload.unwrap()).unwrap();
            assert_eq!(args.len(), 1);
            Some(Got::Ack(packet.id.unwrap(), parsed(args[0])))
        }
        Kind::Disconnect => Some(Got::Disconnect),
        Kind::Connect => None,
        other => panic!("unexpected {other:?}"),
    }
}

fn parsed(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap()
}
