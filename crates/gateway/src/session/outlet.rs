//! What the core needs of a connection.

use std::net::SocketAddr;
use std::pin::Pin;

use mynah_socketio::{AckId, CloseReason, Socket};
use serde_json::value::RawValue;

use crate::frame::{Format, Frame};

/// A connection below the gateway; the tests' connections keep what they are sent.
pub(crate) trait Outlet: Send + Sync {
    /// Queues a frame; false when the connection is closed or, by this very frame, too slow.
    fn send(&self, frame: &Frame, format: Format) -> bool;
    /// Waits until at most `bytes` wait to be written; false when the connection is closed.
    fn room(&self, bytes: usize) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
    /// Waits until the connection is closed.
    fn closed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Calls the client's callback.
    fn ack(&self, id: AckId, data: &RawValue);
    /// Closes once everything queued and `last` is written, so that the client does not come back by itself. Nothing is queued
    /// after it.
    fn send_away(&self, last: Option<&Frame>, format: Format);
    /// Closes at once for this reason; a client that is still there comes back.
    fn cut(&self, reason: CloseReason);
    /// Closes once everything queued is written; the client comes back by itself.
    fn close_to_come_back(&self);
    /// Whether the client may still be there.
    fn is_open(&self) -> bool;
    /// How many milliseconds ago the client gave its last sign of life.
    fn silent_ms(&self) -> u64;
    /// The Socket.IO id.
    fn sid(&self) -> &str;
    /// `polling` or `websocket`.
    fn transport(&self) -> &'static str;
    /// The peer.
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

    fn send_away(&self, last: Option<&Frame>, format: Format) {
        match last {
            Some(last) => self.disconnect_for_good_after(last.encoded(format)),
            None => self.disconnect_for_good(),
        }
    }

    fn cut(&self, reason: CloseReason) {
        self.close_now(reason);
    }

    fn close_to_come_back(&self) {
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
