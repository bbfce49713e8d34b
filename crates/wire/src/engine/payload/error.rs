//! Why the body of a polling request cannot be read.

use crate::engine::PacketError;

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// One of its packets is none.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The text is not UTF-8.
    #[error("payload is not UTF-8")]
    Utf8,
    /// A length of EIO3 is missing, malformed, or does not fit what follows.
    #[error("invalid length in payload")]
    Length,
    /// More packets than allowed.
    #[error("too many packets in payload")]
    TooManyPackets,
    /// EIO4 has no `application/octet-stream`.
    #[error("binary payload in a protocol without one")]
    BinaryForm,
    /// A form without the field `d`.
    #[error("form without a payload")]
    NoFormField,
}
