//! What a session's task and everybody else share: the queue, and what others ask of the task.

use std::sync::Arc;
use std::task::Waker;

use mynah_wire::engine::Transport;
use tokio::sync::Notify;

use crate::closing::Closing;
use crate::encoded::Outgoing;
use crate::front::admission::Held;
use crate::link::Link;
use crate::pending::{Answer, Pending, Post};
use crate::queue::Queue;

/// What the session's task and everybody else share.
pub(crate) struct State {
    /// Waiting for the current transport.
    pub(super) queue: Queue<Outgoing>,
    /// Bytes of `queue` and of the packets that the transport took but has not written to their end.
    pub(super) queued_bytes: usize,
    pub(crate) transport: Transport,
    /// Somebody wants the connection closed.
    pub(crate) closing: Option<Closing>,
    /// The session is over.
    pub(crate) ended: bool,
    /// The receiver wants to be asked ([`Receiver::attention`](crate::Receiver::attention)).
    pub(crate) attention: bool,
    driver: Option<Waker>,
    /// Told whenever less is queued, when the session is to be closed, and of the end; only once somebody has
    /// waited for room.
    pub(super) room: Option<Arc<Notify>>,
    /// Only while on polling.
    pub(crate) poll: Option<Box<Pending>>,
    /// A POST is under way.
    pub(crate) posting: bool,
    /// A body that a POST brought, for the driver.
    pub(crate) post: Option<Box<Post>>,
    /// A WebSocket that wants to take over from polling.
    pub(crate) candidate: Option<Box<Link>>,
    /// Counts the bytes of messages that have not been handled, once they exceed the uncounted part.
    pub(super) input: Option<Box<Held>>,
    /// Counts `queued_bytes` once the reader has fallen behind, if they exceed the uncounted part.
    pub(super) output: Option<Box<Held>>,
}

impl State {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            queue: Queue::Empty,
            queued_bytes: 0,
            transport,
            closing: None,
            ended: false,
            attention: false,
            driver: None,
            room: None,
            poll: (transport == Transport::Polling).then(Box::default),
            posting: false,
            post: None,
            candidate: None,
            input: None,
            output: None,
        }
    }

    /// Wakes the session's task.
    pub(crate) fn wake_driver(&self) {
        if let Some(waker) = &self.driver {
            waker.wake_by_ref();
        }
    }

    /// Registers the session's task to be woken.
    pub(crate) fn register_driver(&mut self, waker: &Waker) {
        match &mut self.driver {
            Some(current) => current.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// What is queued, for the transport; the bytes count until [`State::written`].
    pub(crate) fn take_queue(&mut self) -> Queue<Outgoing> {
        std::mem::take(&mut self.queue)
    }

    /// Takes all that is queued, for an answer to a poll.
    pub(crate) fn drain(&mut self) -> Queue<Outgoing> {
        let queue = std::mem::take(&mut self.queue);
        self.written(self.queued_bytes);
        queue
    }

    /// Takes the first that is queued.
    pub(crate) fn take_first(&mut self) -> Option<Outgoing> {
        let first = self.queue.pop()?;
        self.written(first.len());
        Some(first)
    }

    /// Packets of so many bytes have been written and no longer count.
    pub(crate) fn written(&mut self, bytes: usize) {
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        if self.output.is_some() && Held::is_free(self.queued_bytes) {
            self.output = None;
        }
        self.tell_room();
    }

    fn tell_room(&self) {
        if let Some(room) = &self.room {
            room.notify_waiters();
        }
    }

    /// Somebody wants the connection closed. Who waits for room or for the end is told at once, although the
    /// session's task may be busy with packets that came before.
    pub(super) fn set_closing(&mut self, closing: Closing) {
        self.closing = Some(closing);
        self.wake_driver();
        self.tell_room();
    }

    /// The session is over: nothing is queued any more.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.tell_room();
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Forgets what is queued.
    pub(crate) fn clear_queue(&mut self) {
        drop(self.drain());
    }

    /// Whether the client has to come for what is queued from now on.
    pub(super) fn is_awaited(&self) -> bool {
        self.poll.as_ref().is_some_and(|poll| !poll.is_waiting())
    }

    /// Queues without asking for the bound: control packets, and packets that belong together.
    pub(super) fn enqueue(&mut self, packet: Outgoing) {
        self.queued_bytes += packet.len();
        let idle = self.queue.is_empty();
        self.queue.push(packet);
        if idle {
            match self.transport {
                Transport::WebSocket => self.wake_driver(),
                Transport::Polling => self.wake_poll(),
            }
        }
    }

    fn wake_poll(&mut self) {
        if let Some(poll) = &mut self.poll {
            poll.answer(Answer::Fetch);
        }
    }

    /// A WebSocket has begun, or ceased, to take over from polling.
    pub(crate) fn set_upgrading(&mut self, upgrading: bool) {
        if let Some(poll) = &mut self.poll {
            poll.upgrading = upgrading;
            if upgrading {
                poll.answer(Answer::Noop);
            }
        }
    }
}
