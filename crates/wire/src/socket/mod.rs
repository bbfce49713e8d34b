//! Socket.IO packets, which the messages of [`crate::engine`] carry.
//!
//! There are two versions, which go with those of Engine.IO: Socket.IO 4 and older on [`Protocol::V3`], whose
//! clients the server connects to `/`, and Socket.IO 5 on [`Protocol::V4`], whose clients ask for each
//! namespace.
//!
//! [`Protocol::V3`]: crate::engine::Protocol::V3
//! [`Protocol::V4`]: crate::engine::Protocol::V4
//!
//! Their form is `type [attachments-] [/namespace,] [ack id] [JSON]`. The texts in this module do not include
//! the digit `4` of an Engine.IO message.

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
    ack_writer, encode_ack, encode_connect, encode_connect_error, encode_disconnect, encode_event,
    event_writer,
};
pub use string::{read_string, write_string};

/// The type of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client asks to connect to a namespace, or the server answers that it is connected.
    Connect = 0,
    /// Disconnects from a namespace.
    Disconnect = 1,
    /// An event.
    Event = 2,
    /// The ack of an event.
    Ack = 3,
    /// The server refuses a connection to a namespace.
    ConnectError = 4,
    /// An event with binary attachments.
    BinaryEvent = 5,
    /// An ack with binary attachments.
    BinaryAck = 6,
}

impl Kind {
    /// All kinds, in the order of their digits.
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
        b'0' + self as u8
    }

    /// The kind of this digit.
    pub fn from_digit(digit: u8) -> Option<Self> {
        Self::ALL.get(usize::from(digit.wrapping_sub(b'0'))).copied()
    }

    /// Whether the packet contains the number of its attachments.
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }
}

/// The limits of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of attachments of one packet.
    pub max_attachments: usize,
    /// The maximum number of bytes of one packet, its text and all its attachments together.
    pub max_bytes: usize,
    /// Whether attachments are kept for the application. Otherwise they are read and counted, and each is
    /// empty in the packet.
    pub keep_attachments: bool,
}

impl Default for Limits {
    /// Ten attachments, which is the limit of Node's parser since 4.2.6, and 1,000,000 bytes, which is the
    /// limit of Node's server for one message.
    fn default() -> Self {
        Self {
            max_attachments: 10,
            max_bytes: 1_000_000,
            keep_attachments: true,
        }
    }
}

/// One packet, which borrows from its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The packet's kind.
    pub kind: Kind,
    /// The number of binary messages that follow the packet.
    pub attachments: usize,
    /// The namespace without its query; `/` when the packet names none.
    pub namespace: &'a str,
    /// The text after a `?` in the namespace.
    pub query: Option<&'a str>,
    /// The number of an event whose sender wants an ack, or the number of the event that this ack answers.
    pub id: Option<u64>,
    /// The raw JSON. [`decode`] says how far it has been checked. Any packet may lack it.
    pub payload: Option<&'a str>,
}

/// Why a packet is refused. The connection is then to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input is empty.
    #[error("empty packet")]
    Empty,
    /// The input does not start with a known kind.
    #[error("unknown packet type")]
    UnknownKind,
    /// The number of attachments is missing or malformed.
    #[error("missing or invalid number of attachments")]
    Attachments,
    /// More attachments than [`Limits::max_attachments`].
    #[error("too many attachments")]
    TooManyAttachments,
    /// The ack id is too large, forbidden for the kind, or missing where it is required.
    #[error("missing or invalid ack id")]
    Id,
    /// The payload is not JSON.
    #[error("payload is not JSON")]
    Json,
    /// The payload does not fit the kind.
    #[error("payload does not fit the packet type")]
    Payload,
    /// The event has a name that the libraries reserve for themselves.
    #[error("reserved event name")]
    ReservedName,
    /// The packet has a placeholder, but not the attachment of its number.
    #[error("placeholder without its attachment")]
    Placeholder,
    /// A text message arrived where an attachment was expected.
    #[error("text message where an attachment is expected")]
    AttachmentDue,
    /// A binary message arrived where no attachment was expected.
    #[error("binary message where no attachment is expected")]
    NoAttachmentDue,
    /// The text and the attachments exceed [`Limits::max_bytes`].
    #[error("packet and its attachments are too large")]
    TooBig,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_numbered_in_the_order_of_all() {
        for (digit, kind) in (b'0'..).zip(Kind::ALL) {
            assert_eq!(kind.digit(), digit);
            assert_eq!(Kind::from_digit(digit), Some(kind));
        }
        assert_eq!(Kind::from_digit(b'7'), None);
        assert_eq!(Kind::from_digit(b'/'), None);
    }
}
