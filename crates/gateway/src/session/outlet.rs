//! The functions of a connection that the rest of the gateway needs.

use std::net::SocketAddr;
use std::pin::Pin;

use mynah_socketio::{AckId, CloseReason, Socket};
use serde_json::value::RawValue;

use crate::frame::{Format, Frame};

/// A connection. The implementation of the tests records what is sent.
pub(crate) trait Outlet: Send + Sync {
    /// Queues a frame. Returns false if the connection is closed, or if this frame closes it because the
    /// client reads too slowly.
    fn send(&self, frame: &Frame, format: Format) -> bool;
    /// Waits until at most `bytes` wait to be written. Returns false if the connection is closed.
    fn room(&self, bytes: usize) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
    /// Waits until the connection is closed.
    fn closed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Calls the client's callback.
    fn ack(&self, id: AckId, data: &RawValue);
    /// Disconnects the client for good, once everything queued and `last` has been written. Nothing is queued
    /// after `last`.
    fn disconnect_for_good(&self, last: Option<&Frame>, format: Format);
    /// Closes the connection at once, for this reason.
    fn close_now(&self, reason: CloseReason);
    /// Closes the connection to reconnect, once everything queued has been written.
    fn close_to_reconnect(&self);
    /// Whether the connection may still be alive.
    fn is_open(&self) -> bool;
    /// Milliseconds since the client was last heard from.
    fn silent_ms(&self) -> u64;
    /// The connection's Socket.IO id.
    fn sid(&self) -> &str;
    /// `polling` or `websocket`.
    fn transport(&self) -> &'static str;
    /// The client's address.
    fn address(&self) -> SocketAddr;
}

impl Outlet for Socket {
    fn send(&self, frame: &Frame, format: Format) -> bool {
        self.send(frame.encoded(format))
    }

    fn room(&self, bytes: usize) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(self.session().room(bytes))
    }

    fn closed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.session().closed())
    }

    fn ack(&self, id: AckId, data: &RawValue) {
        self.ack(id, &[data]);
    }

    fn disconnect_for_good(&self, last: Option<&Frame>, format: Format) {
        match last {
            Some(last) => self.disconnect_for_good_after(last.encoded(format)),
            None => self.disconnect_for_good(),
        }
    }

    fn close_now(&self, reason: CloseReason) {
        self.close_now(reason);
    }

    fn close_to_reconnect(&self) {
        self.close_to_reconnect();
    }

    fn is_open(&self) -> bool {
        self.is_connected()
    }

    fn silent_ms(&self) -> u64 {
        self.session().silent_ms()
    }

    fn sid(&self) -> &str {
        self.id()
    }

    fn transport(&self) -> &'static str {
        self.transport().as_str()
    }

    fn address(&self) -> SocketAddr {
        self.address()
    }
}
