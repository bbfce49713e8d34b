//! Socket.IO packets: `type [attachments-] [/namespace,] [ack id] [JSON]`, inside the messages of [`crate::engine`].
//!
//! All texts here are without the engine's type digit `4`.

mod args;
mod assembler;
mod decode;
mod encode;
mod placeholder;
mod string;

pub use args::{ack_args, event_args};
pub use assembler::{Assembler, Whole};
pub use decode::decode;
pub use encode::{
    encode_ack, encode_connect, encode_connect_error, encode_disconnect, encode_event, write_ack, write_event,
};
pub use string::{read_string, write_string};

use crate::engine::Protocol;

/// The two dialects of Socket.IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// Protocol 4 and older, on EIO3: clients 1.x and 2.x, joined to `/` by the server.
    V2,
    /// Protocol 5, on EIO4: clients 3.x and later, which ask for every namespace.
    V5,
}

impl From<Protocol> for Generation {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::V3 => Self::V2,
            Protocol::V4 => Self::V5,
        }
    }
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Joins a namespace, or tells that it was joined.
    Connect,
    /// Leaves a namespace.
    Disconnect,
    /// An event.
    Event,
    /// The answer to an event.
    Ack,
    /// A namespace refuses.
    ConnectError,
    /// An event with attachments.
    BinaryEvent,
    /// An answer with attachments.
    BinaryAck,
}

impl Kind {
    /// Every kind, in the order of its digit.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Disconnect,
        Self::Event,
        Self::Ack,
        Self::ConnectError,
        Self::BinaryEvent,
        Self::BinaryAck,
    ];

    /// The digit at the front of the packet.
    pub const fn digit(self) -> u8 {
        match self {
            Self::Connect => b'0',
            Self::Disconnect => b'1',
            Self::Event => b'2',
            Self::Ack => b'3',
            Self::ConnectError => b'4',
            Self::BinaryEvent => b'5',
            Self::BinaryAck => b'6',
        }
    }

    /// The kind of this digit.
    pub const fn from_digit(digit: u8) -> Option<Self> {
        Some(match digit {
            b'0' => Self::Connect,
            b'1' => Self::Disconnect,
            b'2' => Self::Event,
            b'3' => Self::Ack,
            b'4' => Self::ConnectError,
            b'5' => Self::BinaryEvent,
            b'6' => Self::BinaryAck,
            _ => return None,
        })
    }

    /// Whether the packet says how many attachments follow.
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }
}

/// What a peer may ask of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most attachments of one packet.
    pub max_attachments: usize,
    /// Most bytes of one packet: its text and all of its attachments.
    pub max_bytes: usize,
    /// Attachments are kept for the application. Otherwise they are read, checked and thrown away: each of them is empty in the packet.
    pub keep_attachments: bool,
}

impl Default for Limits {
    /// Ten attachments, as in Node's parser since 4.2.6, and 1,000,000 bytes, as of one message in Node's server.
    fn default() -> Self {
        Self {
            max_attachments: 10,
            max_bytes: 1_000_000,
            keep_attachments: true,
        }
    }
}

/// One packet, borrowing from its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// How many binary messages follow it.
    pub attachments: usize,
    /// The namespace without its query; `/` when the packet names none.
    pub namespace: &'a str,
    /// What followed a `?` in the namespace.
    pub query: Option<&'a str>,
    /// The sender wants an answer with this number, or answers it.
    pub id: Option<u64>,
    /// The raw JSON, see [`decode`] for how far it has been checked. Any packet may lack it.
    pub payload: Option<&'a str>,
}

/// Why a packet is refused; the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing at all.
    #[error("empty packet")]
    Empty,
    /// It does not start with a kind.
    #[error("unknown packet type")]
    UnknownKind,
    /// The number of attachments is missing or malformed.
    #[error("invalid number of attachments")]
    Attachments,
    /// More attachments than allowed.
    #[error("too many attachments")]
    TooManyAttachments,
    /// The ack id is too large, or missing where there must be one.
    #[error("invalid ack id")]
    Id,
    /// The payload is no JSON.
    #[error("payload is not JSON")]
    Json,
    /// The payload does not fit the kind.
    #[error("payload does not fit the packet type")]
    Payload,
    /// An event named as the library's own.
    #[error("reserved event name")]
    ReservedName,
    /// A placeholder without its attachment.
    #[error("placeholder without attachment")]
    Placeholder,
    /// Text while attachments are due.
    #[error("text where an attachment is due")]
    AttachmentDue,
    /// An attachment while none is due.
    #[error("attachment without a packet")]
    NoAttachmentDue,
    /// A packet whose text and attachments are larger than allowed.
    #[error("packet and its attachments are too large")]
    TooBig,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_the_order_of_all() {
        for (digit, kind) in (b'0'..).zip(Kind::ALL) {
            assert_eq!(kind.digit(), digit);
            assert_eq!(Kind::from_digit(digit), Some(kind));
        }
        assert_eq!(Kind::from_digit(b'7'), None);
        assert_eq!(Kind::from_digit(b'/'), None);
    }
}
