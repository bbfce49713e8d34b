//! The numbers of messages, and moments of a record that several nodes write.

/// The number of a message among all messages of a record. Numbers do not always ascend with the time of the
/// commit: use [`Point::includes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub i64);

/// The numbers of a message that was stored now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The message's own number.
    pub own: RecordId,
    /// The greatest number of an earlier message of the same conversation; 0 if there is none.
    pub before: RecordId,
}

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

    /// Whether all messages with numbers up to this one were committed before this moment, or never will be.
    pub fn includes_up_to(&self, id: RecordId) -> bool {
        id <= self.last && self.running.iter().all(|(first, _)| *first > id)
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
        for (up_to, expected) in [(0, true), (9, true), (10, false), (25, false), (31, false)] {
            assert_eq!(point.includes_up_to(id(up_to)), expected, "{up_to}");
        }
    }
}
