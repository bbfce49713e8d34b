//! Mynah: a chat gateway between Socket.IO clients and an HTTP backend. ARCHITECTURE.md describes its
//! structure.
//!
//! The program `mynah` is a small main function around this library. Other programs can embed it:
//!
//! ```no_run
//! use mynah::{Builder, Reply, config::Config, server::Server};
//!
//! # async fn run() -> anyhow::Result<()> {
//! let builder = Builder::new(Config::default()).on_connect(|peer| println!("{} is here", peer.sid));
//! let server = Server::with(builder).await?;
//! server.gateway().register_type(1000, |call| {
//!     Reply::object(&serde_json::json!({"hello": call.uid}))
//! })?;
//! server.run(std::future::pending()).await
//! # }
//! ```

pub mod auth;
mod builder;
mod caller;
mod claims;
mod clock;
#[allow(dead_code, unused_imports)]
mod cluster;
pub mod config;
mod delivery;
mod directory;
mod dispatch;
mod embed;
mod entrance;
mod fair;
mod forwarding;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gateway;
pub mod http;
pub mod keys;
pub mod kinds;
mod listen;
pub mod log;
pub mod metrics;
mod order;
mod outbound;
mod push;
mod random;
mod rate;
mod refusal_log;
mod reject;
pub mod reload;
mod revocations;
pub mod server;
mod session;
#[cfg(test)]
mod simulation;
mod stores;
mod sync;
mod target;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), allow(dead_code))]
mod testing;
mod text;
mod tls;
mod trust;

pub use mynah_store::ids;
use mynah_store::time;

pub use builder::Builder;
pub use embed::{Call, NotYours, Peer, Reply, Seen};
pub use frame::Envelope;
pub use gateway::{ConnectionView, Gateway, NotReady, UserView};
pub use order::{By, Origin, SendOrder, Sent, Stored, To, UserResult};
pub use reject::{Code, Reject};

/// The store's interface, and the stores that the program uses.
pub mod store {
    pub use mynah_store::*;
    pub use mynah_store_postgres as postgres;
    pub use mynah_store_sqlite as embedded;
}
