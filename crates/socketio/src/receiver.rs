//! What stands on a session: the layer that its messages are for.

use std::future::Future;
use std::pin::Pin;

use mynah_wire::engine::{Body, CloseReason, Time};

use crate::handshake::Handshake;
use crate::session::Session;

/// A boxed future.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a receiver makes of a message.
pub enum Flow {
    /// Done with it.
    Continue,
    /// Nothing further of this connection is read until the future is done, and its heartbeats are not missed for so long.
    Wait(BoxFuture),
    /// The session is closed with this reason.
    Close(CloseReason),
}

/// The layer above one Engine.IO session. All calls come from the session's task, in order.
pub trait Receiver: Send {
    /// A message came.
    fn message(&mut self, body: Body<'_>) -> Flow;

    /// Somebody asked for attention through the session, or a handler is done. `waiting`: a handler is not done yet.
    fn attention(&mut self, waiting: bool) {
        let _ = waiting;
    }

    /// Bytes that it keeps of messages that are not complete yet.
    fn held_bytes(&self) -> usize {
        0
    }

    /// When [`Receiver::deadline_passed`] is to be called, unless it is taken back before, by [`crate::Session::now`].
    fn deadline(&self) -> Option<Time> {
        None
    }

    /// The deadline has passed; a reason closes the session, and so does a deadline that is left standing.
    fn deadline_passed(&mut self) -> Option<CloseReason> {
        None
    }

    /// The session is over. Called once, last, and not before a future that [`Receiver::message`] gave is done: a handler is never stopped
    /// half-way, unless the runtime is.
    fn closed(&mut self, reason: CloseReason);
}

/// Makes the layer above each Engine.IO session.
pub trait Acceptor: Send + Sync + 'static {
    /// A session was opened. What is sent here follows the open packet.
    fn open(&self, session: &Session, handshake: Handshake) -> Box<dyn Receiver>;
}
