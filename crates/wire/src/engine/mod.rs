//! Engine.IO 3 and 4: packets, polling bodies, the handshake, and the session's state machine.

mod base64;
mod handshake;
mod packet;
pub mod payload;
mod query;
mod session;
mod time;

pub use handshake::{HttpError, open_packet};
pub use packet::{Body, Packet, PacketError, PacketType, WsPayload};
pub use query::{Dialect, EngineQuery, Reads, decoded, parse_query};
pub use session::{CandidateStep, CloseReason, SessionMachine, Step, TimeoutStep};
pub use time::{Time, Times};

/// The version of Engine.IO that a session uses, from its handshake on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `EIO=3`: clients 1.x and 2.x. The client sends the pings.
    V3,
    /// `EIO=4`: clients 3.x and later. The server sends the pings.
    V4,
}

impl Protocol {
    /// The value of `EIO` in the query.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V3 => "3",
            Self::V4 => "4",
        }
    }

    /// The version for this value of `EIO`; `None` if it is unsupported.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "3" => Some(Self::V3),
            "4" => Some(Self::V4),
            _ => None,
        }
    }
}

/// What carries a session's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP requests: packets to the client are the response to a pending GET, and packets to the server are
    /// the body of a POST.
    Polling,
    /// One WebSocket.
    WebSocket,
}

impl Transport {
    /// The transport's name in queries and in `upgrades`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }

    /// The transport of this name; `None` if it is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "polling" => Some(Self::Polling),
            "websocket" => Some(Self::WebSocket),
            _ => None,
        }
    }
}
