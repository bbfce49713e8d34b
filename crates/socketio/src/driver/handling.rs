//! Handles one packet, independently of where it was read.

use std::borrow::Cow;

use mynah_wire::engine::payload::TextHabit;
use mynah_wire::engine::{self, Packet, Step, Time};

use super::Driver;
use crate::closing::Closing;
use crate::receiver::{BoxFuture, Flow, Receiver};
use crate::session::Session;
use crate::websocket::WebSocket;

/// What is needed to handle a packet: everything but the WebSocket from which it was read, which is borrowed
/// meanwhile.
pub(super) struct Handling<'a> {
    pub(super) session: &'a Session,
    pub(super) engine: &'a mut engine::SessionMachine,
    pub(super) receiver: &'a mut dyn Receiver,
    pub(super) waiting: &'a mut Option<BoxFuture>,
    habit: &'a mut TextHabit,
    pub(super) ending: bool,
    /// When this round of the session's task began.
    now: Time,
}

impl Driver {
    /// Splits the driver into the WebSocket, and what handles the packets that are read from it.
    pub(super) fn split(&mut self, now: Time) -> (&mut Option<WebSocket>, Handling<'_>) {
        let handling = Handling {
            session: &self.session,
            engine: &mut self.engine,
            receiver: &mut *self.receiver,
            waiting: &mut self.waiting,
            habit: &mut self.habit,
            ending: self.ending,
            now,
        };
        (&mut self.websocket, handling)
    }
}

impl Handling<'_> {
    /// The text that the client meant in a WebSocket message: clients that say `EIO=2` may have encoded it
    /// twice.
    pub(super) fn meant<'a>(&mut self, text: &'a str) -> Cow<'a, str> {
        if self.session.dialect().eio2 {
            self.habit.meant(text)
        } else {
            Cow::Borrowed(text)
        }
    }

    /// Handles a packet on the current transport. A result closes the session.
    pub(super) fn handle(&mut self, packet: Packet<'_>) -> Option<Closing> {
        let server = self.session.server();
        self.session.hear(self.now);
        match self.engine.handle(&server.times, self.now, &packet) {
            Step::Nothing => {}
            Step::SendPong => self.session.enqueue_pong(),
            Step::Message if self.ending => {}
            Step::Message => match self.receiver.message(packet.body) {
                Flow::Continue => {}
                Flow::Wait(future) => *self.waiting = Some(future),
                Flow::Close(reason) => return Some(Closing::Now(reason)),
            },
            Step::Close(reason) => return Some(Closing::Now(reason)),
        }
        None
    }
}
