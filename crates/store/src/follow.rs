//! What a node reads to learn of messages that other nodes have committed.

use crate::StoreFuture;
use crate::record::{ConvKind, Message, Page, Stretch};

/// The number of a message among all messages of a record. Numbers do not always ascend with the time of the
/// commit: use [`Point::includes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub i64);

/// A moment of a record: some messages were committed before it, all others are committed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    last: RecordId,
    running: Box<[(RecordId, RecordId)]>,
}

impl Point {
    /// The moment before which the messages up to `last` were committed, except those of transactions that
    /// were running: these have the numbers of `running`, from the first to the last one.
    pub fn new(last: RecordId, running: impl IntoIterator<Item = (RecordId, RecordId)>) -> Self {
        let running = running.into_iter().filter(|(first, _)| *first <= last);
        Self {
            last,
            running: running.collect(),
        }
    }

    /// Whether the message with this number was committed before this moment.
    pub fn includes(&self, id: RecordId) -> bool {
        id <= self.last
            && !self
                .running
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&id))
    }

    /// The greatest number of a message that was committed before this moment.
    pub fn last(&self) -> RecordId {
        self.last
    }

    /// The numbers of the messages of transactions that were running, from the first to the last one.
    pub fn running(&self) -> &[(RecordId, RecordId)] {
        &self.running
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_running_transactions_are_not_included() {
        let id = RecordId;
        let point = Point::new(id(30), [(id(10), id(19)), (id(40), id(49))]);
        for included in [1, 9, 20, 30] {
            assert!(point.includes(id(included)), "{included}");
        }
        for later in [10, 19, 31, 40] {
            assert!(!point.includes(id(later)), "{later}");
        }
        assert_eq!(point.running(), [(id(10), id(19))]);
    }
}
