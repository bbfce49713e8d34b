//! The deadlines of a session: its heartbeat, its receiver's deadline, and the time until which an ended
//! session waits for a poll.
//!
//! Invariant: one timer serves all of them. It is never set later than the next deadline.

use std::future::Future;
use std::pin::pin;
use std::task::Context;

use mynah_wire::engine::{CloseReason, PacketType, Time, TimeoutStep};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::{Driver, Stage, Timer};
use crate::closing::Closing;
use crate::encoded::Outgoing;
use crate::receiver::Receiver;

impl Timer {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(start)),
            armed: None,
        }
    }

    /// Sets the timer to `next`; true if that has passed already.
    fn set(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        next: Time,
        instant: impl Fn(Time) -> Instant,
    ) -> bool {
        match self.armed {
            // Every packet postpones the deadline of the heartbeat. The timer is not set again each time, but
            // only when it expires.
            Some(at) if at <= next && now < at => return false,
            Some(at) if at <= next => {}
            _ => {
                self.armed = Some(next);
                self.sleep.as_mut().reset(instant(next));
            }
        }
        // A task that has used up its budget would not set the timer by this call, and nothing else would.
        if pin!(unconstrained(self.sleep.as_mut())).poll(cx).is_pending() {
            return false;
        }
        self.armed = None;
        true
    }
}

impl Driver {
    /// Sets the timer to the next deadline; true if that has passed already.
    pub(super) fn arm(&self, cx: &mut Context<'_>, now: Time, next: Option<Time>, timer: &mut Timer) -> bool {
        let Some(next) = next else {
            return false;
        };
        timer.set(cx, now, next, |time| self.server().instant(time))
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        match self.stage {
            Stage::Goodbye(until) => Some(until),
            Stage::Gone => None,
            Stage::Open => match (self.engine.poll_timeout(), self.receiver.deadline()) {
                (Some(engine), Some(receiver)) => Some(engine.min(receiver)),
                (engine, receiver) => engine.or(receiver),
            },
        }
    }

    /// Handles the deadlines that have passed; at least one has.
    pub(super) fn pass_deadlines(&mut self, now: Time) {
        match self.stage {
            Stage::Gone => return,
            Stage::Goodbye(_) => return self.gone(),
            Stage::Open => {}
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::task::coop;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_timer_is_set_by_a_task_that_has_used_up_its_budget() {
        let start = Instant::now();
        let mut timer = Timer::new(start);
        let instant = |time: Time| start + Duration::from_millis(time.0);
        let mut is_first = true;
        let waiting = poll_fn(|cx| {
            while std::mem::take(&mut is_first)
                && let Poll::Ready(used) = coop::poll_proceed(cx)
            {
                used.made_progress();
                is_first = true;
            }
            let now = Time(start.elapsed().as_millis() as u64);
            if now < Time(10) {
                timer.set(cx, now, Time(10), instant);
                return Poll::Pending;
            }
            Poll::Ready(now)
        });
        let longest = Duration::from_secs(1);
        assert_eq!(tokio::time::timeout(longest, waiting).await, Ok(Time(10)));
    }
}
