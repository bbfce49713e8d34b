//! Why and how connections are closed.

pub use mynah_wire::engine::CloseReason;

/// How the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// After everything queued has been written.
    AfterFlush(CloseReason),
    /// At once: everything queued is dropped.
    Now(CloseReason),
}

impl Closing {
    /// The reason for closing the connection.
    pub fn reason(self) -> CloseReason {
        match self {
            Self::AfterFlush(reason) | Self::Now(reason) => reason,
        }
    }
}
