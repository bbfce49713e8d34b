//! Everything that a node says to Redis, and through Redis to other nodes.
//!
//! - [`Directory`]: who is connected where, with the login policy for all nodes together.
//! - [`Bus`]: packets to one node, some, or all.
//! - [`Packet`]: what nodes say to each other; [`Questions`] collects their answers.
//!
//! With the feature `simulated`, a Redis in memory takes the place of the real one.
//!
//! Nothing in Redis is the truth: it may be slow, unreachable, emptied or replaced at any moment. Every call
//! ends within [`Times`], with a result that says so, and whatever is lost is written again.

mod address;
mod bus;
mod check;
mod directory;
mod failure;
mod ids;
mod link;
mod packet;
mod questions;
#[cfg(any(test, feature = "simulated"))]
mod random;
mod secret;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use address::{Address, AddressError};
pub use bus::{Bus, BusConfig, Counts, Inbox, NotSent, Received, To};
pub use directory::{
    Claimed, Directory, DirectoryConfig, ENTRY_LIFE, Entry, Held, Ousted, Policy, REFRESH_EVERY, Refreshed,
    Released, Why,
};
pub use failure::{Failure, Trouble};
pub use ids::{ClusterName, Incarnation, NameError, Order};
pub use link::{State, Times};
pub use packet::{
    Answer, Ask, Ended, Malformed, Message, MessageTo, Oust, Packet, Reached, Recipients, Shown, Shows,
    Spent, Stored,
};
pub use questions::{Answers, Asked, Questions};
pub use secret::{Secret, SecretError};
