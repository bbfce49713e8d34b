//! The layer above a session, which handles its messages.

use std::future::Future;
use std::pin::Pin;

use mynah_wire::engine::{Body, CloseReason, Time};

use crate::handshake::Handshake;
use crate::session::Session;

/// A boxed future.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What happens after a receiver has handled a message.
pub enum Flow {
    /// The next message is read.
    Continue,
    /// Nothing further of this connection is handled until the future is done. Meanwhile the client's
    /// heartbeat deadlines are postponed.
    Wait(BoxFuture),
    /// The session is closed with this reason.
    Close(CloseReason),
}

/// The layer above one Engine.IO session. All calls come from the session's task, in order.
pub trait Receiver: Send {
    /// A message arrived.
    fn message(&mut self, body: Body<'_>) -> Flow;

    /// Attention was requested through the session, or a handler's future is done. `waiting`: a future is
    /// still pending.
    fn attention(&mut self, waiting: bool) {
        let _ = waiting;
    }

    /// The number of bytes that it keeps of incomplete messages.
    fn held_bytes(&self) -> usize {
        0
    }

    /// When [`Receiver::deadline_passed`] is to be called, on the clock of [`crate::Session::now`]. It may
    /// change or disappear before.
    fn deadline(&self) -> Option<Time> {
        None
    }

    /// The deadline has passed. A result closes the session, and so does a deadline that remains in the past.
    fn deadline_passed(&mut self) -> Option<CloseReason> {
        None
    }

    /// The session has ended. Called once, and last, after the future that [`Receiver::message`] returned is
    /// done: a handler is not interrupted, unless the runtime stops.
    fn closed(&mut self, reason: CloseReason);
}

/// Creates the layer above each Engine.IO session.
pub trait Acceptor: Send + Sync + 'static {
    /// A session was opened. Messages that are sent here follow the open packet.
    fn open(&self, session: &Session, handshake: Handshake) -> Box<dyn Receiver>;
}
