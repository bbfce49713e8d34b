//! One client: the steps from the connect to the registration, and what it still has to write.

use std::io::{self, ErrorKind, Write};

use mio::net::TcpStream;

use crate::net::Target;
use crate::{chat, frame};

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The TCP connection is being made.
    Dialling,
    /// The upgrade to WebSocket was asked for.
    Upgrading,
    /// Waiting for the Engine.IO open packet.
    Opening,
    /// Waiting to be connected to the namespace `/`.
    Joining,
    /// Waiting for the answer to the registration.
    Registering,
    /// Registered.
    Ready,
    /// No Socket.IO client but a connection for HTTP calls.
    Api,
    /// Gone.
    Closed,
}

/// A connection and its state.
pub(crate) struct Client {
    /// The socket.
    pub(crate) stream: TcpStream,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// The beginning of what isn't whole yet.
    pub(crate) rest: Vec<u8>,
    unwritten: Vec<u8>,
}

impl Client {
    /// A client whose connect has begun.
    pub(crate) fn new(stream: TcpStream, phase: Phase) -> Self {
        Self {
            stream,
            phase,
            rest: Vec::new(),
            unwritten: Vec::new(),
        }
    }

    /// Writes what the socket takes and keeps the rest until it is writable.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = if self.unwritten.is_empty() {
            self.write(bytes)?
        } else {
            0
        };
        self.unwritten.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes what was kept.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if !self.unwritten.is_empty() {
            let kept = std::mem::take(&mut self.unwritten);
            let written = self.write(&kept)?;
            self.unwritten.extend_from_slice(&kept[written..]);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(count) => written += count,
                // Until an API connection is made its first call waits as well.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// The TCP connection is made, or failed: asks for the upgrade.
    pub(crate) fn upgrade(&mut self, target: &Target) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        self.phase = Phase::Upgrading;
        let Target { host, path, .. } = target;
        self.send(
            format!(
                "GET {path}?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: bXluYWgtYmVuY2gtMDAwMA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            .as_bytes(),
        )
    }

    /// Reads the answer to the upgrade and returns where it ends, when it is whole.
    pub(crate) fn upgraded(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        if !bytes.starts_with(b"HTTP/1.1 101") {
            return Err(format!(
                "no upgrade: {}",
                String::from_utf8_lossy(&bytes[..end.min(200)])
            ));
        }
        self.phase = Phase::Opening;
        Ok(Some(end + 4))
    }

    /// Takes the next step to being registered; `register` makes the packet that asks for it.
    pub(crate) fn advance(&mut self, packet: &[u8], register: impl FnOnce() -> String) -> Result<(), String> {
        let (phase, next) = match (self.phase, packet) {
            (Phase::Opening, [b'0', b'{', ..]) => (Phase::Joining, Some(frame::text("40"))),
            (Phase::Joining, [b'4', b'0', ..]) => (Phase::Registering, Some(frame::text(&register()))),
            (Phase::Registering, _) if chat::kind(packet) == Some(chat::REGISTERED) => {
                if !chat::succeeded(packet) {
                    return Err(format!(
                        "registration refused: {}",
                        String::from_utf8_lossy(packet)
                    ));
                }
                (Phase::Ready, None)
            }
            (Phase::Registering, [b'4', b'2', ..]) => return Ok(()),
            _ => {
                return Err(format!(
                    "{:?}, but got {}",
                    self.phase,
                    String::from_utf8_lossy(packet)
                ));
            }
        };
        self.phase = phase;
        next.map_or(Ok(()), |bytes| {
            self.send(&bytes).map_err(|error| error.to_string())
        })
    }
}
