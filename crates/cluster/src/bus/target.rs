//! Where packets go, and why some do not.

use crate::ids::{ClusterName, Incarnation};

/// The receivers of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// One node.
    Node(Incarnation),
    /// Some nodes.
    Nodes(Box<[Incarnation]>),
    /// All other nodes.
    All,
}

/// Why a packet was dropped at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The queue is full.
    #[error("the queue of the bus is full")]
    Full,
    /// Redis is not connected.
    #[error("Redis is not connected")]
    Disconnected,
}

/// The names of the channels.
pub(super) struct Channels {
    prefix: String,
}

impl Channels {
    pub(super) fn new(name: &ClusterName) -> Self {
        let prefix = format!("{}:b:", name.as_str());
        Self { prefix }
    }

    /// The channel of one run of a node.
    pub(super) fn of(&self, incarnation: Incarnation) -> String {
        format!("{}{incarnation}", self.prefix)
    }

    /// The channel of all nodes.
    pub(super) fn all(&self) -> String {
        format!("{}all", self.prefix)
    }
}
