//! One client: the steps from connecting to being registered.

use mio::net::TcpStream;

use crate::args::Transport;
use crate::chat;
use crate::line::Line;
use crate::net::Target;
use crate::polling::{self, Polling};

/// The progress of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The TCP connection is being opened.
    Dialling,
    /// The upgrade to a WebSocket was requested.
    Upgrading,
    /// The client waits for the Engine.IO open packet.
    Opening,
    /// The client waits to be connected to the namespace `/`.
    Joining,
    /// The client waits for the response to its register.
    Registering,
    /// The client is registered, and receives its replay.
    Resuming,
    /// The client is registered.
    Ready,
    /// A connection for HTTP calls, and not a Socket.IO client.
    Api,
    /// The connection is closed.
    Closed,
}

/// A client with its connection and its state.
pub(crate) struct Client {
    /// The client's connection; on polling, the one for its GETs.
    pub(crate) line: Line,
    /// The client's progress.
    pub(crate) phase: Stage,
    /// Whether the client has stopped reading at some time, so that the server may close it.
    pub(crate) slow: bool,
    /// When the client started to connect, in nanoseconds of its crowd's clock.
    pub(crate) dialled: u64,
    /// The state of the polling transport.
    pub(crate) polling: Option<Box<Polling>>,
}

impl Client {
    /// A client that has started to connect.
    pub(crate) fn new(stream: TcpStream, dialled: u64, transport: Transport) -> Self {
        Self {
            line: Line::new(stream),
            phase: Stage::Dialling,
            slow: false,
            dialled,
            polling: (transport == Transport::Polling).then(Box::default),
        }
    }

    /// A connection for HTTP calls.
    pub(crate) fn api(stream: TcpStream) -> Self {
        Self {
            phase: Stage::Api,
            ..Self::new(stream, 0, Transport::Websocket)
        }
    }

    /// The TCP connection is open, or failed. Requests a session.
    pub(crate) fn connected(&mut self, target: &Target) -> std::io::Result<()> {
        if let Some(error) = self.line.stream.take_error()? {
            return Err(error);
        }
        let Target { host, path, .. } = target;
        let (phase, request) = if self.polling.is_some() {
            (Stage::Opening, polling::handshake(target))
        } else {
            let request = format!(
                "GET {path}?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: bXluYWgtYmVuY2gtMDAwMA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            );
            (Stage::Upgrading, request)
        };
        self.phase = phase;
        self.line.send(request.as_bytes())
    }

    /// Reads the response to the upgrade request, and returns its length once it is complete.
    pub(crate) fn upgraded(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        if !bytes.starts_with(b"HTTP/1.1 101") {
            return Err(format!(
                "the server refused the upgrade: {}",
                String::from_utf8_lossy(&bytes[..end.min(200)])
            ));
        }
        self.phase = Stage::Opening;
        Ok(Some(end + 4))
    }

    /// Handles a packet while the client connects. Returns the packet to send next, which `register` makes if
    /// it is the register. The phase after the register is `registered`.
    pub(crate) fn advance(
        &mut self,
        target: &Target,
        packet: &[u8],
        registered: Stage,
        register: impl FnOnce() -> String,
    ) -> Result<Option<String>, String> {
        let (phase, next) = match (self.phase, packet) {
            (Stage::Opening, [b'0', b'{', ..]) => {
                if let Some(polling) = &mut self.polling {
                    polling.opened(target, packet)?;
                }
                (Stage::Joining, Some("40".to_owned()))
            }
            (Stage::Joining, [b'4', b'0', ..]) => (Stage::Registering, Some(register())),
            (Stage::Registering, _) if chat::kind(packet) == Some(chat::REGISTERED) => {
                if !chat::succeeded(packet) {
                    return Err(format!(
                        "the server refused the register: {}",
                        String::from_utf8_lossy(packet)
                    ));
                }
                (registered, None)
            }
            (Stage::Registering, [b'4', b'2', ..]) => return Ok(None),
            _ => {
                return Err(format!(
                    "unexpected packet in phase {:?}: {}",
                    self.phase,
                    String::from_utf8_lossy(packet)
                ));
            }
        };
        self.phase = phase;
        Ok(next)
    }
}
