//! The task of a session: the one place that handles the packets of a connection, whatever its transport.
//!
//! Each time it is woken it repeats the same steps: requests of other tasks, the pending handler, received
//! packets, deadlines, writing. Invariants: while a handler's future is pending, no further packet is
//! handled, so events keep their order and a slow handler delays only its own client. No deadline of the
//! client expires while input of the client is unread, unless the client also does not read what is written
//! to it (the handler may be waiting for exactly that).

mod candidate;
mod deadlines;
mod handling;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mynah_front::Held;
use mynah_wire::engine::payload::TextHabit;
use mynah_wire::engine::{self, CloseReason, Packet, PacketType, Time, Transport};
use mynah_wire::ws;
use tokio::time::Sleep;

use crate::closing::Closing;
use crate::encoded::Outgoing;
use crate::polling;
use crate::receiver::{BoxFuture, Receiver};
use crate::session::Session;
use crate::sessions::Sessions;
use crate::shared::{Leaving, Shared};
use crate::websocket::{WebSocket, WebSocketError};

/// After this number of messages, the responses to them are written before more messages are read. Otherwise
/// a client that sends many messages at once, and does read the responses, would be closed as a slow reader.
const MOST_AT_ONCE: u32 = 256;

/// The stages of a session's end.
enum Stage {
    Open,
    /// The session has ended. Until this time, the next poll is told so.
    Goodbye(Time),
    Gone,
}

pub(crate) struct Driver {
    session: Session,
    engine: engine::SessionMachine,
    receiver: Box<dyn Receiver>,
    /// The table from which the session is removed when it ends.
    sessions: Arc<Sessions>,
    websocket: Option<WebSocket>,
    candidate: Option<Box<WebSocket>>,
    /// The pending future of a handler.
    waiting: Option<BoxFuture>,
    /// The end of the session, until the receiver is told of it, which happens when its handler is done.
    untold: Option<Untold>,
    posted: Option<Box<polling::Posted>>,
    habit: TextHabit,
    stage: Stage,
    /// Whether the session is to be closed once the upgrade in progress has ended. Until then messages are
    /// ignored.
    ending: bool,
    /// Whether the unhandled input is so large that it is counted.
    counted: bool,
}

/// The end of the session, until the receiver has been told of it. Until then the server counts the
/// connection as one that is being closed.
type Untold = Box<(CloseReason, Leaving)>;

/// Whether a step has changed something. If so, the steps are repeated.
type Moved = bool;

impl Driver {
    pub(crate) fn new(
        session: Session,
        receiver: Box<dyn Receiver>,
        websocket: Option<WebSocket>,
        sessions: Arc<Sessions>,
    ) -> Self {
        let server = session.server();
        let engine = engine::SessionMachine::new(
            session.protocol(),
            session.transport(),
            &server.times,
            server.now(),
        );
        Self {
            session,
            engine,
            receiver,
            sessions,
            websocket,
            candidate: None,
            waiting: None,
            untold: None,
            posted: None,
            habit: TextHabit::default(),
            stage: Stage::Open,
            ending: false,
            counted: false,
        }
    }

    /// The future that runs the session to its end.
    pub(crate) fn run(self) -> Run {
        let timer = Timer::new(self.server().instant(Time(0)));
        Run { driver: self, timer }
    }

    fn server(&self) -> &Arc<Shared> {
        self.session.server()
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<()> {
        loop {
            // The clock is read once for all packets of this round. A deadline that passes meanwhile is
            // handled in the next round, or by the timer.
            let now = self.server().now();
            let mut moved = self.take_orders();
            moved |= self.finish_waiting(cx);
            moved |= self.handle_posted(now);
            moved |= self.read_candidate(cx, now);
            moved |= self.read(cx, now);
            moved |= self.notice_gone(cx);
            self.count_input();
            let next = self.next_deadline();
            if next.is_some_and(|next| now >= next) {
                self.pass_deadlines(now);
                moved = true;
            }
            moved |= self.write(cx);
            if let (Stage::Gone, None) = (&self.stage, &self.untold) {
                return Poll::Ready(());
            }
            if !moved && !self.arm(cx, now, next, timer) && self.rest(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Registers the task to be woken; false if there is something for it to do already.
    fn rest(&self, cx: &Context<'_>) -> bool {
        let writes = || self.websocket.as_ref().is_some_and(|open| !open.is_writing());
        self.session.state().rest(cx.waker(), writes)
    }

    /// Handles the requests of other tasks.
    fn take_orders(&mut self) -> Moved {
        let mut state = self.session.state();
        state.begin_work();
        let attention = std::mem::take(&mut state.attention);
        match self.stage {
            Stage::Open => {}
            Stage::Goodbye(_) if state.poll.is_none() => {
                drop(state);
                self.gone();
                return false;
            }
            Stage::Goodbye(_) | Stage::Gone => return false,
        }
        if attention {
            drop(state);
            self.receiver.attention(self.waiting.is_some());
            // The receiver may have closed the session. Then nothing more is read from the client.
            state = self.session.state();
        }
        let (closing, candidate, post) = (state.closing, state.candidate.take(), state.post.take());
        drop(state);
        let moved = attention || candidate.is_some() || post.is_some();
        if let Some(post) = post {
            self.posted = Some(Box::new(polling::Posted::read(
                *post,
                &self.session,
                &mut self.habit,
            )));
        }
        if let Some(websocket) = candidate {
            self.try_candidate(websocket);
        }
        match closing {
            // A client whose probe was answered does not poll any more. The queue is written to the transport
            // on which the upgrade ends.
            Some(Closing::AfterFlush(_)) if self.engine.is_upgrading() => {
                self.ending = true;
                moved
            }
            // Packets that the client sent before it disconnected are handled first.
            Some(Closing::Now(CloseReason::TransportClose)) if self.is_busy() => moved,
            Some(closing) => {
                self.close(closing);
                true
            }
            None => moved,
        }
    }

    fn finish_waiting(&mut self, cx: &mut Context<'_>) -> Moved {
        let Some(future) = &mut self.waiting else {
            return false;
        };
        let done = future.as_mut().poll(cx).is_ready();
        if done {
            self.waiting = None;
            match self.stage {
                Stage::Open => self.receiver.attention(false),
                Stage::Goodbye(_) | Stage::Gone => self.tell(),
            }
        }
        done
    }

    /// Whether packets may be handled now.
    fn is_ready(&self) -> bool {
        self.waiting.is_none() && matches!(self.stage, Stage::Open)
    }

    /// Whether received packets have not been handled, or a handler's future is pending.
    fn is_busy(&self) -> bool {
        self.waiting.is_some() || self.posted.is_some()
    }

    fn handle_posted(&mut self, now: Time) -> Moved {
        let Some(mut posted) = self.posted.take() else {
            return false;
        };
        let mut moved = false;
        while self.is_ready() {
            let Some(packet) = posted.next_packet() else {
                if let Some(reason) = posted.finish(&self.session) {
                    self.close(Closing::Now(reason));
                }
                return true;
            };
            moved = true;
            if let Some(closing) = self.split(now).1.handle(packet) {
                posted.abandon(closing.reason());
                self.close(closing);
                return true;
            }
        }
        self.posted = Some(posted);
        moved
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Time) -> Moved {
        if !self.is_ready() || self.is_busy() {
            return false;
        }
        let protocol = self.session.protocol();
        let (Some(websocket), mut handling) = self.split(now) else {
            return false;
        };
        let mut handled = 0;
        let mut closing = None;
        let read = websocket.poll_messages(cx, |message| {
            let meant;
            let packet = match message {
                ws::Message::Text(text) => {
                    meant = handling.meant(text);
                    Packet::decode_text(protocol, &meant)
                }
                ws::Message::Binary(bytes) => Packet::decode_binary(protocol, bytes),
                ws::Message::Ping(_) | ws::Message::Pong(_) => return Poll::Pending,
                ws::Message::Close(_) => {
                    closing = Some(Closing::Now(CloseReason::TransportClose));
                    return Poll::Ready(());
                }
            };
            closing = match packet {
                Ok(packet) => handling.handle(packet),
                Err(_) => Some(Closing::Now(CloseReason::ParseError)),
            };
            handled += 1;
            if closing.is_none() && handling.waiting.is_none() && handled < MOST_AT_ONCE {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        });
        let mut told = closing.and_then(|closing| closing.reason().websocket_close());
        match read {
            Poll::Ready(Ok(())) | Poll::Pending => {}
            Poll::Ready(Err(WebSocketError::Frame(broken))) => {
                closing = Some(Closing::Now(CloseReason::TransportError));
                told = Some((broken, ""));
            }
            Poll::Ready(Err(error)) => {
                self.websocket = None;
                closing = Some(Closing::Now(match error {
                    WebSocketError::Ended => CloseReason::TransportClose,
                    _ => CloseReason::TransportError,
                }));
            }
        }
        if let Some(closing) = closing {
            self.close_with(closing, told);
        }
        // Otherwise everything received was handled, and the stream wakes the task when more arrives.
        read.is_ready() || self.waiting.is_some()
    }

    /// While a handler's future is pending: checks whether the client has disconnected, so that the handler
    /// need not wait any longer. Messages that the client sent before that are handled first.
    fn notice_gone(&mut self, cx: &mut Context<'_>) -> Moved {
        let waits = self.waiting.is_some() && self.posted.is_none() && matches!(self.stage, Stage::Open);
        let gone = waits && self.websocket.as_mut().is_some_and(|open| open.poll_gone(cx));
        if gone {
            self.close(Closing::Now(CloseReason::TransportClose));
        }
        gone
    }

    /// Counts the bytes of messages that are incomplete or have not been handled.
    fn count_input(&mut self) {
        let websockets = self.websocket.iter().chain(self.candidate.as_deref());
        let bytes = websockets.map(WebSocket::held_bytes).sum::<usize>() + self.receiver.held_bytes();
        let counts = !Held::is_free(bytes);
        if !(counts || self.counted) {
            return;
        }
        self.counted = counts;
        if !self.session.hold_input(bytes) {
            self.session.refuse_memory();
            self.close(Closing::Now(CloseReason::ServerClose));
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Moved {
        let Some(websocket) = &mut self.websocket else {
            return false;
        };
        if !websocket.is_writing() {
            load(&self.session, websocket);
            if !websocket.is_writing() {
                return false;
            }
        }
        let mut written = 0;
        let result = websocket.poll_write(cx, &mut written);
        let mut state = self.session.state();
        state.written(written);
        let more = state.has_queued();
        let fits = result.is_ready() || self.session.hold_queue(&mut state);
        drop(state);
        match result {
            Poll::Pending if !fits => {
                self.session.refuse_memory();
                self.close(Closing::Now(CloseReason::SlowReader));
                true
            }
            Poll::Pending => false,
            Poll::Ready(Ok(())) => more,
            Poll::Ready(Err(_)) => {
                self.websocket = None;
                self.close(Closing::Now(CloseReason::TransportError));
                true
            }
        }
    }

    fn close(&mut self, closing: Closing) {
        self.close_with(closing, closing.reason().websocket_close());
    }

    /// Ends the session, and tells the peer: on a WebSocket by a close frame with the code and reason in
    /// `told`.
    fn close_with(&mut self, closing: Closing, told: Option<(u16, &'static str)>) {
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        let reason = closing.reason();
        let server = self.server().clone();
        self.engine.close(reason);
        let (leftover, unread) = {
            let mut state = self.session.state();
            state.end();
            (state.candidate.take(), state.post.take())
        };
        if let Some(post) = unread {
            post.abandon(reason);
        }
        if let Some(posted) = self.posted.take() {
            posted.abandon(reason);
        }
        for websocket in self.candidate.take().into_iter().chain(leftover) {
            websocket.finish(&server, self.session.address().ip(), None);
        }
        self.stage = Stage::Gone;
        if let Some(mut websocket) = self.websocket.take() {
            if let Closing::Now(_) = closing {
                websocket.discard_unwritten();
            } else {
                load(&self.session, &mut websocket);
            }
            if reason == CloseReason::DisconnectedForGood {
                // Without a close packet, python-socketio and rust_socketio reconnect after a WebSocket was
                // closed.
                websocket.push(Outgoing::control(PacketType::Close));
            }
            Box::new(websocket).finish(&server, self.session.address().ip(), told);
        } else if self.session.transport() == Transport::Polling && polling::leave(&self.session, closing) {
            self.stage = Stage::Goodbye(server.now().after(server.config.goodbye_timeout_ms));
        }
        if let Stage::Gone = self.stage {
            self.gone();
        }
        server.count_close(reason);
        self.untold = Some(Box::new((reason, server.leaving())));
        if self.waiting.is_none() {
            self.tell();
        }
    }

    /// Tells the receiver that the session has ended, if that is still to be done.
    fn tell(&mut self) {
        let Some(untold) = self.untold.take() else { return };
        let told = std::panic::catch_unwind(AssertUnwindSafe(|| self.receiver.closed(untold.0)));
        if told.is_err() {
            // The panic hook has reported the panic. If this code runs because the handler panicked before, a
            // second panic would abort the process.
            tracing::error!("a receiver panicked while handling the end of its session");
        }
    }

    /// Nothing more is sent to the peer.
    fn gone(&mut self) {
        self.stage = Stage::Gone;
        self.sessions.forget(&self.session);
        self.session.hold_input(0);
        let mut state = self.session.state();
        state.clear_queue();
        state.poll = None;
    }
}

/// The future of a session. It is a type of its own, because the future of an `async fn` would contain the
/// driver twice.
pub(crate) struct Run {
    driver: Driver,
    timer: Timer,
}

/// The timer for the deadlines of a session.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// The time to which the timer is set.
    armed: Option<Time>,
}

impl Future for Run {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { driver, timer } = self.get_mut();
        driver.poll(cx, timer)
    }
}

/// Moves the queued packets to the WebSocket.
fn load(session: &Session, websocket: &mut WebSocket) {
    let mut queued = session.state().take_queue();
    let (protocol, dialect) = (session.protocol(), session.dialect());
    if !Outgoing::fits_websocket(protocol, dialect) {
        for packet in queued.iter_mut() {
            packet.fit_websocket(protocol, dialect, session.server().json_texts);
        }
    }
    websocket.load(queued);
}

impl Drop for Driver {
    /// A handler that panics, or a runtime that stops, must not leave a session behind.
    fn drop(&mut self) {
        self.waiting = None;
        self.close(Closing::Now(CloseReason::ServerClose));
        self.tell();
        self.gone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tokio adds some 104 bytes to the future of a task, and rounds up to a multiple of 128: one more word
    /// costs each connection 128 bytes.
    #[test]
    fn a_session_task_fits_in_three_times_128_bytes() {
        assert!(size_of::<Run>() + 104 <= 3 * 128, "{}", size_of::<Run>());
    }
}
