//! What a session's task and everybody else share: the queue, and what others ask of the task.
//!
//! Invariant: while the task is at work nobody wakes it; it does not rest before it has looked at everything that
//! came meanwhile.

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
    /// The session's task is running: it need not be woken.
    at_work: bool,
    /// The session's task is to look at what others want once more before it waits.
    called: bool,
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
            at_work: false,
            called: false,
            room: None,
            poll: (transport == Transport::Polling).then(Box::default),
            posting: false,
            post: None,
            candidate: None,
            input: None,
            output: None,
        }
    }

    /// Has the session's task look at what others want.
    pub(crate) fn wake_driver(&mut self) {
        if self.at_work {
            self.called = true;
        } else if let Some(waker) = &self.driver {
            waker.wake_by_ref();
        }
    }

    /// The session's task is about to look at what others want. Until [`State::rest`] it is not woken: what its own
    /// handlers queue or ask for would otherwise have it run once more for nothing.
    pub(crate) fn begin_work(&mut self) {
        self.at_work = true;
        self.called = false;
    }

    /// Registers the session's task to be woken, so that it may wait. Returns false if something has come meanwhile
    /// that it has to look at first; `writes` says that it could write what is queued.
    #[inline]
    pub(crate) fn rest(&mut self, waker: &Waker, writes: impl FnOnce() -> bool) -> bool {
        if self.called || (self.has_queued() && writes()) {
            return false;
        }
        self.at_work = false;
        match &mut self.driver {
            Some(current) => current.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        true
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
                // A task at work writes what is queued before it rests.
                Transport::WebSocket if self.at_work => {}
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_at_work_is_not_woken_and_rests_only_when_nothing_is_left_to_do() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let count = || woken.0.load(Ordering::Relaxed);
        let mut state = State::new(Transport::WebSocket);
        state.begin_work();
        assert!(state.rest(&waker, || true));
        state.enqueue(Outgoing::message("from another"));
        assert_eq!(count(), 1);

        state.begin_work();
        state.clear_queue();
        state.enqueue(Outgoing::message("from its own handler"));
        assert_eq!(count(), 1, "it is at work");
        assert!(!state.rest(&waker, || true), "it can write this first");
        assert!(state.rest(&waker, || false), "its stream takes nothing now");

        state.begin_work();
        state.clear_queue();
        state.wake_driver();
        assert!(!state.rest(&waker, || true), "it was called");
        state.begin_work();
        assert!(state.rest(&waker, || true), "it has looked");
        assert_eq!(count(), 1);
        state.wake_driver();
        assert_eq!(count(), 2);
    }
}
