//! The way to one client: what the registry keeps of a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use mynah_socketio::{AckId, Socket};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use crate::frame::{Format, Frame};

/// What the core needs of a connection; the tests' connections keep what they are sent.
pub(crate) trait Outlet: Send + Sync {
    /// Queues a frame; false when the connection is closed or, by this very frame, too slow.
    fn send(&self, frame: &Frame, format: Format) -> bool;
    /// Calls the client's callback.
    fn ack(&self, id: AckId, data: &RawValue);
    /// Closes once everything queued and `last` is written, so that the client does not come back by itself. Nothing is queued
    /// after it.
    fn send_away(&self, last: Option<&Frame>, format: Format);
    /// Closes at once; a client that is still there comes back.
    fn cut(&self);
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

    fn ack(&self, id: AckId, data: &RawValue) {
        self.ack(id, &[data]);
    }

    fn send_away(&self, last: Option<&Frame>, format: Format) {
        match last {
            Some(last) => self.send_away_with(last.encoded(format)),
            None => self.send_away(),
        }
    }

    fn cut(&self) {
        self.cut();
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

/// Whether pushes go straight to the client.
enum Flow {
    /// Yes.
    Live,
    /// Registered, but not yet answered: they wait, for the response comes first.
    Held(Box<Held>),
    /// Displaced or signed out before the response: neither comes.
    Ended,
}

/// Pushes that wait for a response.
#[derive(Default)]
struct Held {
    frames: Vec<Arc<Frame>>,
    bytes: usize,
}

/// One connection, as pushes and responses see it.
pub(crate) struct Link {
    outlet: Box<dyn Outlet>,
    flow: Mutex<Flow>,
    wants_objects: AtomicBool,
    appends: AtomicU32,
    room: Notify,
}

/// Most bytes that wait for a register's response; the store answers within milliseconds, so that more means trouble.
const MAX_HELD_BYTES: usize = 1 << 20;

impl Link {
    pub(crate) fn new(outlet: impl Outlet + 'static) -> Self {
        Self {
            outlet: Box::new(outlet),
            flow: Mutex::new(Flow::Live),
            wants_objects: AtomicBool::new(false),
            appends: AtomicU32::new(0),
            room: Notify::new(),
        }
    }

    pub(crate) fn outlet(&self) -> &dyn Outlet {
        &*self.outlet
    }

    pub(crate) fn format(&self) -> Format {
        if self.wants_objects.load(Ordering::Relaxed) {
            Format::Object
        } else {
            Format::String
        }
    }

    pub(crate) fn set_format(&self, format: Format) {
        self.wants_objects
            .store(format == Format::Object, Ordering::Relaxed);
    }

    /// Sends a push, or keeps it until the response to the register is out. Called with the lock of the user's shard.
    pub(crate) fn push(&self, frame: &Arc<Frame>) -> bool {
        let mut flow = self.flow.lock();
        match &mut *flow {
            Flow::Live => {
                drop(flow);
                self.outlet.send(frame, self.format())
            }
            Flow::Held(held) if held.bytes + frame.len() <= MAX_HELD_BYTES => {
                held.bytes += frame.len();
                held.frames.push(frame.clone());
                true
            }
            Flow::Held(_) => {
                drop(flow);
                self.outlet.cut();
                false
            }
            Flow::Ended => false,
        }
    }

    /// Keeps pushes from now on until [`Link::release`].
    pub(crate) fn hold(&self) {
        *self.flow.lock() = Flow::Held(Box::default());
    }

    /// Sends the response by `answer`, then what was kept. False, and nothing is sent, when the registration ended meanwhile.
    pub(crate) fn release(&self, answer: impl FnOnce()) -> bool {
        let mut flow = self.flow.lock();
        let held = match std::mem::replace(&mut *flow, Flow::Live) {
            Flow::Live => Vec::new(),
            Flow::Held(held) => held.frames,
            Flow::Ended => return false,
        };
        answer();
        for frame in &held {
            self.outlet.send(frame, self.format());
        }
        true
    }

    /// The registration ended by somebody else: a response that is still due to it does not come.
    pub(crate) fn end(&self) {
        let mut flow = self.flow.lock();
        if matches!(*flow, Flow::Held(_)) {
            *flow = Flow::Ended;
        }
    }

    /// Sends the client away, with a last frame if there is one.
    pub(crate) fn send_away(&self, last: Option<&Frame>) {
        self.end();
        self.outlet.send_away(last, self.format());
    }

    /// Sends a frame that no registration is needed for.
    pub(crate) fn send(&self, frame: &Frame) -> bool {
        self.outlet.send(frame, self.format())
    }

    /// One more append waits for the store; true when there are `limit` or more, so that reading should pause.
    pub(crate) fn append_begins(&self, limit: usize) -> bool {
        self.appends.fetch_add(1, Ordering::Relaxed) as usize + 1 >= limit
    }

    /// An append was answered.
    pub(crate) fn append_ended(&self) {
        self.appends.fetch_sub(1, Ordering::Release);
        self.room.notify_one();
    }

    /// Waits until less than `limit` appends wait for the store.
    pub(crate) async fn room(&self, limit: usize) {
        while self.appends.load(Ordering::Acquire) as usize >= limit {
            self.room.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Connection, Registration};

    /// With 10,000 connections every byte is 10 KB: what a registered connection holds besides its socket and texts.
    #[test]
    fn a_registered_connection_is_small() {
        let held =
            size_of::<Connection<Link>>() + size_of::<Registration>() + size_of::<crate::session::Client>();
        assert!(held <= 320, "{held} bytes");
    }
}
