//! The entrance: what arrives from a connection, from its handshake to its end, on the way to dispatch.
//!
//! What is sent to a connection takes the other way, through `session`.

mod client;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshake;
#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
pub(crate) use client::Client;
pub(crate) use client::Entrance;
pub(crate) use handshake::Handshakes;
