//! The shared part of a session: what any thread may do to a connection.
//!
//! Invariants: once `ended` is set, nothing more is queued; the queue exceeds its limit at most by the
//! message that closes the session.

mod state;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mynah_front::{Held, Refusal};
use mynah_wire::engine::{CloseReason, Dialect, PacketType, Protocol, Time, Transport};
use parking_lot::Mutex;

use crate::closing::Closing;
use crate::encoded::Outgoing;
use crate::handshake::Handshake;
use crate::shared::Shared;
use crate::sid::Sid;

pub(crate) use state::SessionState;

/// One Engine.IO session. Clones are cheap and share it.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    sid: Sid,
    protocol: Protocol,
    dialect: Dialect,
    address: SocketAddr,
    server: Arc<Shared>,
    /// When the client was last heard from, on the clock of deadlines.
    heard: AtomicU64,
    state: Mutex<SessionState>,
}

impl Session {
    pub(crate) fn new(sid: Sid, handshake: &Handshake, dialect: Dialect, server: Arc<Shared>) -> Self {
        Self(Arc::new(Inner {
            sid,
            protocol: handshake.protocol,
            dialect,
            address: handshake.address,
            heard: AtomicU64::new(server.now().0),
            server,
            state: Mutex::new(SessionState::new(handshake.transport)),
        }))
    }

    /// The session's id: 20 URL-safe characters.
    pub fn sid(&self) -> &str {
        self.0.sid.as_str()
    }

    pub(crate) fn key(&self) -> Sid {
        self.0.sid
    }

    /// The version of Engine.IO.
    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// The current transport.
    pub fn transport(&self) -> Transport {
        self.state().transport
    }

    /// The peer's address at the handshake.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// How the client reads and writes.
    pub(crate) fn dialect(&self) -> Dialect {
        self.0.dialect
    }

    /// The current time on the clock of deadlines.
    pub fn now(&self) -> Time {
        self.0.server.now()
    }

    /// The client was heard from: a packet arrived, or a request for packets.
    pub(crate) fn hear(&self, now: Time) {
        self.0.heard.store(now.0, Ordering::Relaxed);
    }

    /// The time in milliseconds since the client was last heard from. The handshake counts too.
    pub fn silent_ms(&self) -> u64 {
        self.now().0.saturating_sub(self.0.heard.load(Ordering::Relaxed))
    }

    /// The state that the sessions of a server share.
    pub(crate) fn server(&self) -> &Arc<Shared> {
        &self.0.server
    }

    pub(crate) fn state(&self) -> parking_lot::MutexGuard<'_, SessionState> {
        self.0.state.lock()
    }

    /// The number of bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.state().queued_bytes
    }

    /// Waits until at most `bytes` wait to be written; false if the session has ended or is closing. To send
    /// much data, wait for room before each part, so that the client's reading sets the pace.
    pub async fn room(&self, bytes: usize) -> bool {
        self.until(|state| match state.is_ending() {
            true => Some(false),
            false => (state.queued_bytes <= bytes).then_some(true),
        })
        .await
    }

    /// Waits until the session has ended or is closing. Work that only its client needs can stop then. If a
    /// client on a WebSocket closes while a handler's future is pending, that is noticed unless the client
    /// sent something else before. A client on polling is noticed when it gives up its pending GET, or else
    /// when its heartbeat is missing.
    pub async fn closed(&self) {
        let _tidy = ForgetRoom(self);
        self.until(|state| state.is_ending().then_some(())).await;
    }

    /// Waits until `found` returns something. It is called again when less is queued, when the session is to
    /// be closed, and when it has ended.
    async fn until<T>(&self, found: impl Fn(&SessionState) -> Option<T>) -> T {
        loop {
            let told = {
                let mut state = self.state();
                if let Some(found) = found(&state) {
                    return found;
                }
                state.room.get_or_insert_default().clone().notified_owned()
            };
            told.await;
        }
    }

    /// Queues a text message; false if the session has ended or is closing, or if this message closes it
    /// because the client reads too slowly.
    pub fn send_text(&self, text: &str) -> bool {
        self.enqueue([Outgoing::message(text)])
    }

    /// Queues a binary message; the result is that of [`Session::send_text`].
    pub fn send_binary(&self, bytes: &[u8]) -> bool {
        self.enqueue([Outgoing::binary(bytes)])
    }

    /// Queues packets that belong together, with no other packet between them.
    pub(crate) fn enqueue(&self, packets: impl IntoIterator<Item = Outgoing>) -> bool {
        self.enqueue_locked(&mut self.state(), packets)
    }

    /// Like [`Session::enqueue`], unless `left` is set.
    #[inline]
    pub(crate) fn enqueue_unless(
        &self,
        left: &AtomicBool,
        packets: impl IntoIterator<Item = Outgoing>,
    ) -> bool {
        let mut state = self.state();
        !left.load(Ordering::Acquire) && self.enqueue_locked(&mut state, packets)
    }

    /// Like [`Session::enqueue_unless`], and sets `left`: nothing is queued after `packets`.
    pub(crate) fn enqueue_last(&self, left: &AtomicBool, packets: impl IntoIterator<Item = Outgoing>) {
        let mut state = self.state();
        if !left.swap(true, Ordering::AcqRel) {
            self.enqueue_locked(&mut state, packets);
        }
    }

    /// Answers an Engine.IO ping. One pong is enough for all pings that arrive before it is read.
    pub(crate) fn enqueue_pong(&self) {
        let mut state = self.state();
        if !state.queue.last_mut().is_some_and(|last| last.is_bare_pong()) {
            self.enqueue_locked(&mut state, [Outgoing::control(PacketType::Pong)]);
        }
    }

    /// Records that the session has to end because a limit of buffered bytes is reached.
    pub(crate) fn refuse_memory(&self) {
        let admission = &self.0.server.config.admission;
        admission.refuse(Refusal::Memory, self.0.address.ip());
    }

    /// A counter for buffered bytes of this session, which starts at 0.
    pub(crate) fn nothing_held(&self) -> Held {
        Held::new(self.0.server.config.admission.clone(), self.0.address.ip())
    }

    /// Counts the bytes of messages that have not been handled; false if that exceeds a limit.
    pub(crate) fn hold_input(&self, bytes: usize) -> bool {
        let mut state = self.state();
        if Held::is_free(bytes) {
            state.input = None;
            return true;
        }
        let input = state.input.get_or_insert_with(|| Box::new(self.nothing_held()));
        input.resize(bytes)
    }

    /// Counts the bytes that are queued for a client that reads too slowly; false if that exceeds a limit.
    pub(crate) fn hold_queue(&self, state: &mut SessionState) -> bool {
        if Held::is_free(state.queued_bytes) {
            return true;
        }
        let output = state.output.get_or_insert_with(|| Box::new(self.nothing_held()));
        // The smallest packets take nearly twice the memory that they count.
        output.resize(2 * state.queued_bytes)
    }

    fn enqueue_locked(&self, state: &mut SessionState, packets: impl IntoIterator<Item = Outgoing>) -> bool {
        if state.is_ending() {
            return false;
        }
        let behind = state.output.is_some() || state.is_awaited();
        for packet in packets {
            state.enqueue(packet);
        }
        let fits = state.queued_bytes <= self.0.server.config.max_queue_bytes;
        if fits && (!behind || self.hold_queue(state)) {
            return true;
        }
        if fits {
            self.refuse_memory();
        }
        state.set_closing(Closing::Now(CloseReason::SlowReader));
        false
    }

    /// Closes the session. The first call decides, except that `Now` overrides `AfterFlush`.
    pub fn close(&self, closing: Closing) {
        let mut state = self.state();
        let replaces = match (state.closing, closing) {
            (None, _) => true,
            (Some(Closing::AfterFlush(_)), Closing::Now(_)) => true,
            (Some(_), _) => false,
        };
        if !state.ended && replaces {
            state.set_closing(closing);
        }
    }

    /// Whether the session has ended. At most it still waits for the poll that is told so.
    pub(crate) fn is_waiting_goodbye(&self) -> bool {
        self.state().ended
    }

    /// Makes the session's task call [`Receiver::attention`](crate::Receiver::attention).
    pub(crate) fn call_attention(&self) {
        let mut state = self.state();
        state.attention = true;
        state.wake_driver();
    }
}

/// Frees the notification of [`Session::closed`] once nobody waits for it, so that an idle session keeps
/// nothing.
struct ForgetRoom<'a>(&'a Session);

impl Drop for ForgetRoom<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state
            .room
            .as_ref()
            .is_some_and(|room| Arc::strong_count(room) == 1)
        {
            state.room = None;
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("sid", &self.sid())
            .finish_non_exhaustive()
    }
}
