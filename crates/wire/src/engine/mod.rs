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
pub use query::{Dialect, EngineQuery, Reads, parse_query};
pub use session::{CandidateStep, CloseReason, Refused, Session, Step, TimeoutStep};
pub use time::{Time, Times};

/// Version of Engine.IO, which a session keeps from its handshake on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `EIO=3`: clients 1.x and 2.x, which ping.
    V3,
    /// `EIO=4`: clients 3.x and later, which are pinged.
    V4,
}

impl Protocol {
    /// The value of the query's `EIO`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V3 => "3",
            Self::V4 => "4",
        }
    }

    /// The protocol that `EIO=text` asks for.
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
    /// HTTP requests: a waiting GET downward, a POST upward.
    Polling,
    /// One WebSocket.
    WebSocket,
}

impl Transport {
    /// The name in queries and in `upgrades`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }

    /// The transport of this name; everything else is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "polling" => Some(Self::Polling),
            "websocket" => Some(Self::WebSocket),
            _ => None,
        }
    }
}
