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
    /// Its own device came back before the response: neither comes.
    Ended,
}

/// What waits for a response.
#[derive(Default)]
struct Held {
    frames: Vec<Arc<Frame>>,
    bytes: usize,
    /// Displaced or signed out before the response: this follows it, and pushes do not.
    farewell: Option<Farewell>,
}

/// The last that a registered connection is sent.
pub(crate) struct Farewell {
    /// Kind 12, unless it was signed out.
    pub(crate) last: Option<Frame>,
    /// The client is sent away; otherwise the connection stays, unregistered.
    pub(crate) away: bool,
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
            Flow::Held(held) if held.farewell.is_some() => false,
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

    /// Sends the response by `answer`, then what was kept.
    pub(crate) fn release(&self, answer: impl FnOnce()) {
        let mut flow = self.flow.lock();
        let held = match std::mem::replace(&mut *flow, Flow::Live) {
            Flow::Live => Box::default(),
            Flow::Held(held) => held,
            Flow::Ended => return,
        };
        answer();
        for frame in &held.frames {
            self.outlet.send(frame, self.format());
        }
        if let Some(farewell) = held.farewell {
            self.say(&farewell);
        }
    }

    /// The client's own device came back on another connection: this one is closed, and a response still due to it does not come.
    pub(crate) fn cut(&self) {
        *self.flow.lock() = Flow::Ended;
        self.outlet.cut();
    }

    /// Says farewell, behind a response that is still due.
    pub(crate) fn part(&self, farewell: Farewell) {
        match &mut *self.flow.lock() {
            Flow::Held(held) => {
                held.frames.clear();
                held.farewell = Some(farewell);
            }
            Flow::Live | Flow::Ended => self.say(&farewell),
        }
    }

    fn say(&self, farewell: &Farewell) {
        match (&farewell.last, farewell.away) {
            (last, true) => self.outlet.send_away(last.as_ref(), self.format()),
            (Some(last), false) => {
                self.outlet.send(last, self.format());
            }
            (None, false) => {}
        }
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
