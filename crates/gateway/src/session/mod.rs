//! Connections, as the gateway sees them: from a Socket.IO event to dispatch, and from delivery to the socket.

mod asker;
mod client;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod link;
mod outlet;
#[cfg(test)]
mod tests;

pub(crate) use asker::{Asker, refusal};
#[cfg(any(test, fuzzing))]
pub(crate) use client::Client;
pub(crate) use client::Entrance;
pub(crate) use link::{Farewell, Link, Turn};
pub(crate) use outlet::Outlet;
