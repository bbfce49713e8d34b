//! WebSocket frames (RFC 6455), without extensions.

mod close;
mod decoder;
mod encode;
mod error;
mod header;
mod mask;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

pub use close::CloseFrame;
pub use decoder::Decoder;
pub use encode::{Header, close_frame, frame, header, masked_frame};
pub use error::Error;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The peer closes the connection, or answers a close frame.
    Close = 0x8,
    /// Has to be answered with a pong of the same payload.
    Ping = 0x9,
    /// The answer to a ping, or unsolicited.
    Pong = 0xa,
}

impl Opcode {
    /// The number in the header's first byte.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The opcode of `number`; `None` for the reserved ones.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Whether this is a control frame, which may occur between the fragments of a message.
    pub const fn is_control(self) -> bool {
        self.number() & 0x8 != 0
    }
}

/// Which end of the connection this is. It decides which frames are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The frames of the peer, a client, must be masked.
    Server,
    /// The frames of the peer, a server, must not be masked.
    Client,
}

/// One whole message or control frame from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Valid UTF-8, with all fragments joined.
    Text(&'a str),
    /// Bytes, with all fragments joined.
    Binary(&'a [u8]),
    /// The payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// The payload, at most 125 bytes.
    Pong(&'a [u8]),
    /// The peer closes the connection; `None` if it gave no code.
    Close(Option<CloseFrame<'a>>),
}

/// The value of `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key`.
pub fn accept_key(sec_websocket_key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(sec_websocket_key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_key_of_the_rfc() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn opcodes_keep_their_numbers() {
        for number in 0..=0xf {
            if let Some(opcode) = Opcode::from_number(number) {
                assert_eq!(opcode.number(), number);
                assert_eq!(opcode.is_control(), number >= 8);
            }
        }
    }
}
