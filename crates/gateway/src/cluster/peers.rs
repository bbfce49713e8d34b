//! The other nodes, as this node knows them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mynah_cluster::Incarnation;

/// What another node says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its present run.
    pub(crate) incarnation: Incarnation,
    /// Host and port under which it is reached.
    pub(crate) advertise: Box<str>,
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It lives, as far as is known.
    Live,
    /// It has ended a moment ago: its users count as connected, because they are reconnecting.
    Returning,
    /// It has ended.
    Ended,
}

/// The nodes at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peers {
    /// The nodes that live, without this one.
    pub(crate) live: HashMap<Incarnation, Peer>,
    /// The nodes that have ended within the life of an entry of the directory, and since when.
    pub(crate) ended: HashMap<Incarnation, Instant>,
}

impl Peers {
    /// Whether this node is there. One that is not known has just started. The users of a node that has ended
    /// are expected back for `back`.
    pub(crate) fn life(&self, node: &Incarnation, back: Duration, now: Instant) -> Life {
        match self.ended.get(node) {
            None => Life::Live,
            Some(since) if now.saturating_duration_since(*since) < back => Life::Returning,
            Some(_) => Life::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_has_ended_is_expected_back_for_a_while() {
        let (node, other) = (Incarnation([1; 16]), Incarnation([2; 16]));
        let since = Instant::now();
        let peers = Peers {
            ended: HashMap::from([(node, since)]),
            ..Peers::default()
        };
        let back = Duration::from_secs(10);
        let life = |node, after| peers.life(node, back, since + Duration::from_secs(after));
        assert_eq!(life(&node, 9), Life::Returning);
        assert_eq!(life(&node, 10), Life::Ended);
        assert_eq!(life(&other, 10), Life::Live);
    }
}
