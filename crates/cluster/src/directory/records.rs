//! What the directory needs of the place where its records are, and what is done with them.

use std::pin::Pin;

use mynah_store::ids::Uid;

use super::entry::{Entry, Held};
use super::policy::Why;
use crate::failure::Failure;
use crate::ids::{Incarnation, Order};

/// A result for each of several users, or why the whole request failed.
pub(crate) type Results<'a, T> =
    Pin<Box<dyn Future<Output = Result<Vec<Result<T, Failure>>, Failure>> + Send + 'a>>;

/// The records of users. Each method does the same for several of them. What it does to one record is atomic.
pub(crate) trait Records: Send + Sync {
    /// Enters connections, and applies the login policy.
    fn claim<'a>(&'a self, claims: &'a [Claim<'a>]) -> Results<'a, Claimed>;

    /// Extends the lives of entries. The result is false for an entry that is gone.
    fn touch<'a>(&'a self, held: &'a [Held]) -> Results<'a, bool>;

    /// Removes the entries of connections.
    fn release<'a>(&'a self, connections: &'a [(&'a Uid, &'a str)]) -> Results<'a, Released>;

    /// Returns the nodes that have connections of the users, each node once.
    fn find<'a>(&'a self, uids: &'a [Uid]) -> Results<'a, Vec<Incarnation>>;
}

/// A claim of a connection.
pub(crate) struct Claim<'a> {
    /// The user.
    pub(crate) uid: &'a Uid,
    /// The connection.
    pub(crate) entry: &'a Entry,
    /// If this restores an entry that was lost: the number of its claim. Of the entries that the policy does
    /// not allow together, those with the higher numbers remain. A new claim wins against all others.
    pub(crate) restores: Option<Order>,
    /// Nodes whose entries are removed without being reported.
    pub(crate) dead: &'a [Incarnation],
}

/// The result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The number of the claim. Of a user's connections, the one with the highest number claimed last.
    pub order: Order,
    /// The number of other connections of the user that remain.
    pub others: usize,
    /// The connections that the login policy has removed, oldest first. Their nodes must be told.
    pub ousted: Vec<Ousted>,
}

/// A connection that a claim has removed. It is meant only if its claim has this order: a connection that has
/// registered again since then is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ousted {
    /// Why.
    pub why: Why,
    /// The number of its claim.
    pub order: Order,
    /// The removed entry.
    pub entry: Entry,
}

/// The result of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Whether there was an entry.
    pub was_there: bool,
    /// The number of the user's connections that remain.
    pub left: usize,
}
