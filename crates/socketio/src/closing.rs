//! Why and how connections close.

pub use mynah_wire::engine::CloseReason;

/// What the server wants of a connection that it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// What is queued is written first.
    AfterFlush(CloseReason),
    /// What is queued is dropped.
    Now(CloseReason),
}

impl Closing {
    /// The reason, either way.
    pub fn reason(self) -> CloseReason {
        match self {
            Self::AfterFlush(reason) | Self::Now(reason) => reason,
        }
    }
}
