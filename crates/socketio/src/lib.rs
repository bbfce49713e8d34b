//! A Socket.IO server on hyper and tokio, for every client from 1.0 (2014) to 4.x.
//!
//! hyper accepts connections, answers polling and performs the WebSocket upgrade; then the raw stream is taken back and one small
//! task per session runs it. The protocol itself (codecs, heartbeats, upgrade) is `mynah-wire`; this crate adds sockets, clocks,
//! queues and namespaces. It knows nothing of users or messages.
//!
//! Invariants:
//! - events of one connection are handled in the order in which they came, over polling, WebSocket and the change between them;
//! - what is sent is shared, encoded once, and queued up to a bound in bytes; a reader that falls behind the bound is closed;
//! - [`Handler::disconnected`] is called exactly once for every handler made, and nothing after it.

mod closing;
mod config;
mod driver;
mod encoded;
mod handshake;
mod http;
mod link;
mod listener;
mod namespaces;
mod polling;
mod server;
mod session;
mod sessions;
mod socket;
mod upgrade;

pub use closing::{CloseReason, Closing};
pub use config::{Config, Cors};
pub use driver::{BoxFuture, Flow, Receiver};
pub use encoded::Encoded;
pub use handshake::Handshake;
pub use http::Body;
pub use listener::{Listener, ListenerOptions};
pub use mynah_wire::engine::{Body as MessageBody, Protocol, Time, Transport};
pub use namespaces::{ConnectRefused, DisconnectReason, Event, Handler, Namespaces};
pub use server::{Acceptor, EngineServer, Server};
pub use session::Session;
pub use socket::{AckError, AckId, Acked, Socket};
