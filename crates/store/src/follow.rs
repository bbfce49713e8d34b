//! What a node reads to learn of messages that other nodes have committed.

use crate::StoreFuture;
use crate::record::{ConvKind, Message, Page, Stretch};

pub use crate::moment::{Numbers, Point, RecordId};

/// The messages that were committed between two moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Their conversations, each once, with the first and the last of the new messages. The messages between
    /// these two may be older if there are `more`.
    pub conversations: Vec<(Stretch, ConvKind)>,
    /// The second moment.
    pub point: Point,
    /// Whether there are further messages.
    pub more: bool,
}

/// A record that several nodes write.
pub trait Follow: Send + Sync + 'static {
    /// Returns the present moment.
    fn point(&self) -> StoreFuture<'_, Point>;

    /// Returns which conversations have got messages since `since`, of all nodes, this one included. Reads at
    /// most about `limit` messages. Each message is reported once, and soon after its commit: a transaction
    /// that runs for a long time delays no other one.
    fn news(&self, since: Point, limit: u32) -> StoreFuture<'_, News>;

    /// Returns the messages of a stretch in order, with their numbers, whoever may see them. Messages that
    /// were deleted are missing. Call it again for the messages after the last one.
    fn messages(&self, stretch: Stretch, page: Page) -> StoreFuture<'_, Vec<(RecordId, Message)>>;
}
