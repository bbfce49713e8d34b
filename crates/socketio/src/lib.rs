//! A Socket.IO server on hyper and tokio, for every client from 1.0 (2014) to 4.x.
//!
//! hyper accepts connections, answers polling requests and performs the WebSocket upgrade. Then the raw
//! stream is taken back from hyper, and one small task per session runs it. The protocol itself (codecs,
//! heartbeats, upgrade) is in `mynah-wire`; this crate adds sockets, clocks, queues and namespaces. It knows
//! nothing about users or messages.
//!
//! An echo server:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use mynah_front::{Listener, ListenerOptions};
//! use mynah_socketio::{
//!     BoxFuture, Config, ConnectRefused, DisconnectReason, Event, Handler, Handshake, Namespaces,
//!     Server, Socket,
//! };
//! use serde_json::value::RawValue;
//!
//! /// Everyone may connect to the namespace `/`, and to no other.
//! struct Echo;
//!
//! impl Namespaces for Echo {
//!     fn connect(
//!         &self,
//!         socket: &Socket,
//!         _: &Handshake,
//!         _: Option<&RawValue>,
//!     ) -> Result<Box<dyn Handler>, ConnectRefused> {
//!         match socket.namespace() {
//!             "/" => Ok(Box::new(Client(socket.clone()))),
//!             _ => Err(ConnectRefused::invalid_namespace()),
//!         }
//!     }
//! }
//!
//! struct Client(Socket);
//!
//! impl Handler for Client {
//!     fn event(&mut self, event: Event<'_>) -> Option<BoxFuture> {
//!         self.0.emit_binary(event.name, event.args, event.attachments);
//!         if let Some(ack) = event.ack {
//!             self.0.ack(ack, &[]);
//!         }
//!         None // or a future, for which this client's next event waits
//!     }
//!
//!     fn disconnected(&mut self, reason: DisconnectReason) {
//!         println!("{} left: {}", self.0.id(), reason.as_str());
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let server = Server::new(Config::default(), Arc::new(Echo));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     // Requests for paths other than `/socket.io/` can be handled elsewhere: see `Server::serves`.
//!     let serve = move |request, peer| {
//!         let server = server.clone();
//!         async move { server.handle(request, peer).await }
//!     };
//!     Listener::new(listener, ListenerOptions::default())
//!         .serve(serve, std::future::pending())
//!         .await;
//!     Ok(())
//! }
//! ```
//!
//! Invariants:
//! - The events of a connection are handled in the order in which they arrive: over polling, over a
//!   WebSocket, and during an upgrade.
//! - A packet is encoded once and shared by its recipients. The queue of a connection is limited in bytes,
//!   and a client that reads too slowly is closed.
//! - [`Handler::disconnected`] is called exactly once for every handler, after its last event has been
//!   handled. It is the last call.

mod closing;
mod config;
mod driver;
mod encoded;
mod handshake;
mod http;
mod namespaces;
mod pending;
mod polling;
mod queue;
mod receiver;
mod server;
mod session;
mod sessions;
mod shared;
mod sid;
mod socket;
mod upgrade;
mod websocket;

pub use closing::{CloseReason, Closing};
pub use config::Config;
pub use encoded::Encoded;
pub use handshake::Handshake;
pub use mynah_wire::engine::{Body as MessageBody, Protocol, Time, Transport};
pub use namespaces::{ConnectRefused, DisconnectReason, Event, Handler, Namespaces};
pub use receiver::{Acceptor, BoxFuture, Flow, Receiver};
pub use server::{EngineServer, Server};
pub use session::Session;
pub use sid::SidTag;
pub use socket::{AckError, AckId, Acked, Socket};
