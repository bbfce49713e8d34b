//! Why a peer's frames are refused.

/// Why the peer's bytes are refused. The connection cannot be used after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer broke the rules of the framing; the text says which.
    #[error("WebSocket protocol error: {0}")]
    Protocol(&'static str),
    /// A message is longer than the decoder's limit.
    #[error("WebSocket message is too large")]
    TooBig,
    /// A text message or a close reason that is not UTF-8.
    #[error("WebSocket text is not UTF-8")]
    Utf8,
}

impl Error {
    /// The code of the close frame that the peer gets.
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Utf8 => 1007,
            Self::TooBig => 1009,
        }
    }
}
