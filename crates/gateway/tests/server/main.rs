//! Tests of the whole server in this process, with clients on real sockets.

#![allow(clippy::unwrap_used)]

mod client;
mod displaced;
mod doors;
#[path = "../../examples/embed.rs"]
mod embed;
mod embedding;
mod kinds;
mod limits;
mod running;
mod tls;
