//! A client that costs little: it sends bytes that were prepared, and counts the frames that arrive.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, bail};
use mynah_wire::ws::{Opcode, masked_frame};

/// A non-blocking connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// The number of missing bytes of the last frame.
    rest: usize,
    /// The number of frames that have arrived.
    pub(crate) frames: usize,
}

impl Client {
    /// Connects, and requests a WebSocket of Engine.IO 4.
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            rest: 0,
            frames: 0,
        })
    }

    /// Reads the response to the request. Returns false if it has not arrived.
    pub(crate) fn is_upgraded(&mut self, buffer: &mut [u8]) -> anyhow::Result<bool> {
        let came = match self.stream.read(buffer) {
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let end = came.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let end = end.context("the response arrived in pieces")?;
        if !came.starts_with(b"HTTP/1.1 101 ") {
            bail!(
                "the server refused the WebSocket: {}",
                String::from_utf8_lossy(came)
            );
        }
        self.count(&came[end + 4..]);
        Ok(true)
    }

    /// Sends bytes that [`packet`] has made.
    pub(crate) fn send(&mut self, frames: &[u8]) {
        self.stream.write_all(frames).expect("the server reads");
    }

    /// Reads the bytes that have arrived.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) {
        match self.stream.read(buffer) {
            Ok(0) => panic!("the server has closed a connection"),
            Ok(length) => self.count(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn count(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            self.rest = match *bytes {
                [] => return,
                [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
                [_, length @ ..126, ..] => 2 + usize::from(length),
                _ => panic!("a frame's header arrived in pieces, or the frame is longer than expected"),
            };
            self.frames += 1;
        }
    }
}

/// An Engine.IO packet in the form in which a client sends it.
pub(crate) fn packet(text: &str) -> Vec<u8> {
    masked_frame(Opcode::Text, text.as_bytes(), [0x37, 0xfa, 0x21, 0x3d])
}
