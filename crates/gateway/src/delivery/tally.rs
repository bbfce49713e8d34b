//! The result of sending a message. For the answers of the API, its recipients on all nodes are counted.

use std::sync::Arc;

use mynah_cluster::Reached;
use parking_lot::Mutex;

use crate::order::Stored;
use crate::reject::Reject;

/// The result of sending a stored message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) stored: Stored,
    /// The number of recipients who were sent it on a live connection.
    pub(crate) online: usize,
    /// The number of recipients who were not.
    pub(crate) offline: usize,
}

/// Called once with the result of sending a message.
pub(crate) type OnDelivered = Box<dyn FnOnce(Result<Outcome, Reject>) + Send>;

/// Waits for what this node and the others have reached, and then answers.
pub(super) struct Tally(Mutex<Parts>);

struct Parts {
    answer: Option<OnDelivered>,
    here: Option<(Stored, usize, Reached)>,
    elsewhere: Option<Reached>,
}

impl Tally {
    pub(super) fn new(answer: OnDelivered) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Parts {
            answer: Some(answer),
            here: None,
            elsewhere: None,
        })))
    }

    /// Takes whom this node has reached, of so many recipients.
    pub(super) fn here(&self, stored: Stored, recipients: usize, reached: Reached) {
        self.add(|parts| parts.here = Some((stored, recipients, reached)));
    }

    /// Takes whom the other nodes have reached.
    pub(super) fn elsewhere(&self, reached: Reached) {
        self.add(|parts| parts.elsewhere = Some(reached));
    }

    fn add(&self, add: impl FnOnce(&mut Parts)) {
        let mut parts = self.0.lock();
        add(&mut parts);
        let (Some((stored, recipients, reached)), Some(elsewhere)) = (&parts.here, &parts.elsewhere) else {
            return;
        };
        let mut all = reached.clone();
        all.add(elsewhere);
        let online = all.count().min(*recipients);
        let outcome = Outcome {
            stored: *stored,
            online,
            offline: recipients - online,
        };
        let answer = parts.answer.take();
        drop(parts);
        if let Some(answer) = answer {
            answer(Ok(outcome));
        }
    }
}
