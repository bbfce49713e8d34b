//! The deadlines of a session: its heartbeat, its receiver's deadline, and the time until which an ended
//! session waits for a poll.
//!
//! Invariant: one timer serves all of them. It is never set later than the next deadline.

use std::task::Context;

use mynah_wire::engine::{CloseReason, PacketType, Time, TimeoutStep};

use super::{Driver, Phase, Timer};
use crate::closing::Closing;
use crate::encoded::Outgoing;
use crate::receiver::Receiver;

impl Driver {
    /// Sets the timer to the next deadline; true if that has passed already.
    pub(super) fn arm(&self, cx: &mut Context<'_>, now: Time, next: Option<Time>, timer: &mut Timer) -> bool {
        let Some(next) = next else {
            return false;
        };
        match timer.armed {
            // Every packet postpones the deadline of the heartbeat. The timer is not set again each time, but
            // only when it expires.
            Some(at) if at <= next && now < at => return false,
            Some(at) if at <= next => {}
            _ => {
                timer.armed = Some(next);
                timer.sleep.as_mut().reset(self.server().instant(next));
            }
        }
        if timer.sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        timer.armed = None;
        true
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Goodbye(until) => Some(until),
            Phase::Gone => None,
            Phase::Open => match (self.engine.poll_timeout(), self.receiver.deadline()) {
                (Some(engine), Some(receiver)) => Some(engine.min(receiver)),
                (engine, receiver) => engine.or(receiver),
            },
        }
    }

    /// Handles the deadlines that have passed; at least one has.
    pub(super) fn pass_deadlines(&mut self, now: Time) {
        match self.phase {
            Phase::Gone => return,
            Phase::Goodbye(_) => return self.gone(),
            Phase::Open => {}
        }
        let passed = |receiver: &dyn Receiver| receiver.deadline().is_some_and(|at| now >= at);
        if passed(&*self.receiver) {
            let reason = self.receiver.deadline_passed();
            // A deadline that was neither moved nor removed would pass again and again.
            let standing = passed(&*self.receiver).then_some(CloseReason::ServerClose);
            if let Some(reason) = reason.or(standing) {
                return self.close(Closing::Now(reason));
            }
        }
        while self.engine.poll_timeout().is_some_and(|at| now >= at) {
            if self.waiting.is_some() && self.takes_what_is_written() {
                self.engine.postpone_deadlines(&self.session.server().times, now);
            }
            match self.engine.handle_timeout(&self.session.server().times, now) {
                TimeoutStep::Nothing => break,
                TimeoutStep::SendPing => {
                    // Only progress after this ping shows that the peer is alive.
                    if let Some(websocket) = &mut self.websocket {
                        websocket.take_progress();
                    }
                    self.session.enqueue([Outgoing::control(PacketType::Ping)]);
                }
                TimeoutStep::DropCandidate => self.drop_candidate(),
                TimeoutStep::Close(reason) => {
                    self.close(Closing::Now(reason));
                    break;
                }
            }
        }
    }

    /// Whether the peer reads what is written to it, or nothing waits to be written. While a handler's future
    /// is pending nothing is read from the peer, so this is the only sign that it is alive: a handler that
    /// waits for the peer to read must not keep the session of a dead peer open.
    fn takes_what_is_written(&mut self) -> bool {
        match &mut self.websocket {
            Some(websocket) => websocket.take_progress() || !websocket.is_writing(),
            None => {
                let since = self.session.silent_ms();
                let patience = self.session.server().times.ping_timeout;
                let waits = self.session.state().has_queued();
                !waits || since < patience.into()
            }
        }
    }
}
