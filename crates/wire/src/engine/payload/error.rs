//! Why the body of a polling request cannot be read.

use crate::engine::PacketError;

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// One of the packets in the body is invalid.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The text is not UTF-8.
    #[error("payload is not UTF-8")]
    Utf8,
    /// A length of EIO3 is missing or malformed, or does not fit the text that follows.
    #[error("invalid packet length in payload")]
    Length,
    /// The body is `application/octet-stream`, which EIO4 does not have.
    #[error("EIO=4 has no application/octet-stream payloads")]
    BinaryForm,
    /// The form has no field `d`.
    #[error("form has no field `d`")]
    NoFormField,
}
