//! The WebSocket transport.

use std::net::SocketAddr;

use mynah_socketio::Protocol;
use mynah_wire::engine::Packet;
use mynah_wire::ws;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Polling, Reply};
use crate::within;

const MASK: [u8; 4] = [7, 1, 0xa5, 99];

/// What the client received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// A close frame, with its code.
    Close(Option<u16>),
    /// The connection ended.
    End,
}

pub(crate) struct Ws<S = TcpStream> {
    protocol: Protocol,
    pub(crate) stream: S,
    decoder: ws::Decoder,
    unread: Vec<u8>,
    at: usize,
}

impl Ws {
    /// Opens a session.
    pub(crate) async fn open(address: SocketAddr, protocol: Protocol, query: &str) -> Self {
        let target = format!(
            "/socket.io/?EIO={}&transport=websocket&{query}",
            protocol.as_str()
        );
        let mut ws = Self::upgrade(address, &target, protocol).await.unwrap();
        let Got::Text(open) = ws.next().await else {
            panic!("no open packet");
        };
        assert!(
            open.starts_with(r#"0{"sid":""#) && open.contains(r#""upgrades":[]"#),
            "{open}"
        );
        ws
    }

    /// Opens a WebSocket for a session on polling.
    pub(crate) async fn join(polling: &Polling) -> Self {
        Self::upgrade(polling.address, &polling.target("websocket"), polling.protocol)
            .await
            .unwrap()
    }

    /// Performs the handshake. Returns the response if it is not an upgrade.
    pub(crate) async fn upgrade(
        address: SocketAddr,
        target: &str,
        protocol: Protocol,
    ) -> Result<Self, Reply> {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, target, protocol, "").await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ws<S> {
    /// Performs the handshake on a stream, with additional headers.
    pub(crate) async fn over(
        mut stream: S,
        target: &str,
        protocol: Protocol,
        headers: &str,
    ) -> Result<Self, Reply> {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        let end = loop {
            let n = within(stream.read_buf(&mut answer)).await.unwrap();
            let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            assert_ne!(n, 0, "no response");
        };
        let mut reply = Reply::parse(&answer);
        if reply.status != 101 {
            within(stream.read_to_end(&mut answer)).await.unwrap();
            return Err(Reply::parse(&answer));
        }
        reply
            .headers
            .retain(|(name, _)| name == "sec-websocket-extensions");
        assert!(reply.headers.is_empty(), "the server accepts no extension");
        Ok(Self {
            protocol,
            stream,
            decoder: ws::Decoder::new(ws::Role::Client, 1 << 26),
            unread: answer.split_off(end),
            at: 0,
        })
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
        within(self.stream.flush()).await.unwrap();
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.frame(ws::Opcode::Text, text.as_bytes()).await;
    }

    pub(crate) async fn frame(&mut self, opcode: ws::Opcode, payload: &[u8]) {
        self.raw(&ws::masked_frame(opcode, payload, MASK)).await;
    }

    /// A masked fragment.
    pub(crate) async fn fragment(&mut self, opcode: ws::Opcode, payload: &[u8]) {
        let mut frame = ws::masked_frame(opcode, payload, MASK);
        frame[0] &= 0x7f;
        self.raw(&frame).await;
    }

    pub(crate) async fn attachment(&mut self, bytes: &[u8]) {
        let payload = match self.protocol {
            Protocol::V3 => [&[4], bytes].concat(),
            Protocol::V4 => bytes.to_vec(),
        };
        self.frame(ws::Opcode::Binary, &payload).await;
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Got {
        within(async {
            loop {
                match self.decoder.decode(&mut self.unread, &mut self.at).unwrap() {
                    Some(ws::Message::Text(text)) => return Got::Text(text.to_owned()),
                    Some(ws::Message::Binary(bytes)) => return Got::Binary(bytes.to_vec()),
                    Some(ws::Message::Pong(bytes)) => return Got::Pong(bytes.to_vec()),
                    Some(ws::Message::Close(close)) => return Got::Close(close.map(|close| close.code)),
                    Some(ws::Message::Ping(_)) => panic!("the server sends no WebSocket pings"),
                    None => {}
                }
                self.unread.clear();
                self.at = 0;
                if !matches!(self.stream.read_buf(&mut self.unread).await, Ok(n) if n > 0) {
                    return Got::End;
                }
            }
        })
        .await
    }

    /// The next packet; `None` if the connection was closed.
    pub(crate) async fn packet(&mut self) -> Option<Packet<'static>> {
        loop {
            return match self.next().await {
                Got::Text(text) => Some(Packet::decode_text(self.protocol, &text).unwrap().into_owned()),
                Got::Binary(bytes) => {
                    Some(Packet::decode_binary(self.protocol, &bytes).unwrap().into_owned())
                }
                Got::Pong(_) => continue,
                Got::Close(_) | Got::End => None,
            };
        }
    }
}
