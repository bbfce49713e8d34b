//! Why a peer's frames are refused.

/// Why the peer's bytes are refused. The connection cannot go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The framing rules were broken; the text says which.
    #[error("websocket protocol error: {0}")]
    Protocol(&'static str),
    /// A message longer than the decoder's bound.
    #[error("websocket message too big")]
    TooBig,
    /// A text message or a close reason that is not UTF-8.
    #[error("websocket text is not UTF-8")]
    Utf8,
}

impl Error {
    /// The code of the close frame that answers it.
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Utf8 => 1007,
            Self::TooBig => 1009,
        }
    }
}
