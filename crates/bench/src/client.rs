//! One client: the steps from the connect to the registration.

use mio::net::TcpStream;

use crate::args::Transport;
use crate::chat;
use crate::line::Line;
use crate::net::Target;
use crate::polling::{self, Polling};

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
    /// Registered, and getting what it has missed.
    Resuming,
    /// Registered.
    Ready,
    /// No Socket.IO client but a connection for HTTP calls.
    Api,
    /// Gone.
    Closed,
}

/// A client, its connection and its state.
pub(crate) struct Client {
    /// The connection; when polling, that of the GETs.
    pub(crate) line: Line,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// Whether it once stopped reading, so that the server may close it.
    pub(crate) slow: bool,
    /// When its connect began, in nanoseconds of its crowd's clock.
    pub(crate) dialled: u64,
    /// What it has besides when it polls.
    pub(crate) polling: Option<Box<Polling>>,
}

impl Client {
    /// A client whose connect has begun.
    pub(crate) fn new(stream: TcpStream, dialled: u64, transport: Transport) -> Self {
        Self {
            line: Line::new(stream),
            phase: Phase::Dialling,
            slow: false,
            dialled,
            polling: (transport == Transport::Polling).then(Box::default),
        }
    }

    /// A connection for HTTP calls.
    pub(crate) fn api(stream: TcpStream) -> Self {
        Self {
            phase: Phase::Api,
            ..Self::new(stream, 0, Transport::Websocket)
        }
    }

    /// The TCP connection is made, or failed: asks for a session.
    pub(crate) fn connected(&mut self, target: &Target) -> std::io::Result<()> {
        if let Some(error) = self.line.stream.take_error()? {
            return Err(error);
        }
        let Target { host, path, .. } = target;
        let (phase, request) = if self.polling.is_some() {
            (Phase::Opening, polling::handshake(target))
        } else {
            let request = format!(
                "GET {path}?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: bXluYWgtYmVuY2gtMDAwMA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            );
            (Phase::Upgrading, request)
        };
        self.phase = phase;
        self.line.send(request.as_bytes())
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

    /// Takes the next step to being registered, which leads to `registered`, and returns what is to be said; `register` makes the packet
    /// that asks for it.
    pub(crate) fn advance(
        &mut self,
        target: &Target,
        packet: &[u8],
        registered: Phase,
        register: impl FnOnce() -> String,
    ) -> Result<Option<String>, String> {
        let (phase, next) = match (self.phase, packet) {
            (Phase::Opening, [b'0', b'{', ..]) => {
                if let Some(polling) = &mut self.polling {
                    polling.opened(target, packet)?;
                }
                (Phase::Joining, Some("40".to_owned()))
            }
            (Phase::Joining, [b'4', b'0', ..]) => (Phase::Registering, Some(register())),
            (Phase::Registering, _) if chat::kind(packet) == Some(chat::REGISTERED) => {
                if !chat::succeeded(packet) {
                    return Err(format!(
                        "registration refused: {}",
                        String::from_utf8_lossy(packet)
                    ));
                }
                (registered, None)
            }
            (Phase::Registering, [b'4', b'2', ..]) => return Ok(None),
            _ => {
                return Err(format!(
                    "{:?}, but got {}",
                    self.phase,
                    String::from_utf8_lossy(packet)
                ));
            }
        };
        self.phase = phase;
        Ok(next)
    }
}
