//! The inbound path of a connection, from its handshake to its end. Requests go on to `dispatch`.
//!
//! What is sent to a connection takes the outbound path, through `session`.

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
