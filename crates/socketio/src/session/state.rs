//! The state that a session's task shares with other tasks: the queue, and their requests.
//!
//! Invariants: the session's task is not woken while it runs, and it does not rest before it has handled
//! everything that arrived meanwhile.

use std::sync::Arc;
use std::task::Waker;

use mynah_front::Held;
use mynah_wire::engine::Transport;
use tokio::sync::Notify;

use crate::closing::Closing;
use crate::encoded::Outgoing;
use crate::pending::{Pending, PollAnswer, Post};
use crate::queue::Queue;
use crate::websocket::WebSocket;

/// The state that a session's task shares with other tasks.
pub(crate) struct SessionState {
    /// The packets that the current transport has not taken.
    pub(super) queue: Queue<Outgoing>,
    /// The bytes of `queue`, and of the packets that the transport took but has not completely written.
    pub(super) queued_bytes: usize,
    pub(crate) transport: Transport,
    /// A request to close the connection.
    pub(crate) closing: Option<Closing>,
    /// Whether the session has ended.
    pub(crate) ended: bool,
    /// A request to call [`Receiver::attention`](crate::Receiver::attention).
    pub(crate) attention: bool,
    driver: Option<Waker>,
    /// Whether the session's task is running, so that it need not be woken.
    at_work: bool,
    /// Whether the session's task has to check the requests again before it waits.
    called: bool,
    /// Notified when less is queued, when the session is to be closed, and when it has ended. It exists only
    /// once somebody waits for that.
    pub(super) room: Option<Arc<Notify>>,
    /// Only while on polling.
    pub(crate) poll: Option<Box<Pending>>,
    /// Whether a POST is in progress.
    pub(crate) posting: bool,
    /// The body of a POST, for the session's task.
    pub(crate) post: Option<Box<Post>>,
    /// A WebSocket that is offered as the candidate of an upgrade.
    pub(crate) candidate: Option<Box<WebSocket>>,
    /// Counts the bytes of messages that have not been handled, if there are enough to be counted.
    pub(super) input: Option<Box<Held>>,
    /// Counts `queued_bytes` once the client reads too slowly, if there are enough to be counted.
    pub(super) output: Option<Box<Held>>,
}

impl SessionState {
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

    /// Makes the session's task check the requests.
    pub(crate) fn wake_driver(&mut self) {
        if self.at_work {
            self.called = true;
        } else if let Some(waker) = &self.driver {
            waker.wake_by_ref();
        }
    }

    /// The session's task is about to check the requests. Until [`SessionState::rest`] it is not woken:
    /// otherwise it would run once more, for nothing, after what its own handlers queue or request.
    pub(crate) fn begin_work(&mut self) {
        self.at_work = true;
        self.called = false;
    }

    /// Registers the session's task to be woken, so that it may wait. Returns false if it has something to do
    /// first. `writes` says whether it could write the queued packets.
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

    /// Takes the queued packets for the transport. Their bytes count until [`SessionState::written`].
    pub(crate) fn take_queue(&mut self) -> Queue<Outgoing> {
        std::mem::take(&mut self.queue)
    }

    /// Takes all queued packets, for the response to a poll.
    pub(crate) fn drain(&mut self) -> Queue<Outgoing> {
        let queue = std::mem::take(&mut self.queue);
        self.written(self.queued_bytes);
        queue
    }

    /// Takes the first queued packet.
    pub(crate) fn take_first(&mut self) -> Option<Outgoing> {
        let first = self.queue.pop()?;
        self.written(first.len());
        Some(first)
    }

    /// Packets of `bytes` bytes have been written, and do not count any more.
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

    /// Requests that the connection is closed. Tasks that wait for room or for the end are notified at once,
    /// because the session's task may be busy with earlier packets.
    pub(super) fn set_closing(&mut self, closing: Closing) {
        self.closing = Some(closing);
        self.wake_driver();
        self.tell_room();
    }

    /// The session has ended: nothing more is queued.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.tell_room();
    }

    /// Whether the session has ended or is closing.
    pub(super) fn is_ending(&self) -> bool {
        self.ended || self.closing.is_some()
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Drops the queued packets.
    pub(crate) fn clear_queue(&mut self) {
        drop(self.drain());
    }

    /// Whether the session is on polling without a pending GET, so that the queued packets wait for the
    /// client.
    pub(super) fn is_awaited(&self) -> bool {
        self.poll.as_ref().is_some_and(|poll| !poll.is_waiting())
    }

    /// Queues a packet. The caller checks the limit.
    pub(super) fn enqueue(&mut self, packet: Outgoing) {
        self.queued_bytes += packet.len();
        let idle = self.queue.is_empty();
        self.queue.push(packet);
        if idle {
            match self.transport {
                // A task that runs writes the queue before it rests.
                Transport::WebSocket if self.at_work => {}
                Transport::WebSocket => self.wake_driver(),
                Transport::Polling => self.wake_poll(),
            }
        }
    }

    fn wake_poll(&mut self) {
        if let Some(poll) = &mut self.poll {
            poll.answer(PollAnswer::Fetch);
        }
    }

    /// Records that an upgrade is in progress, or is not any more.
    pub(crate) fn set_upgrading(&mut self, upgrading: bool) {
        if let Some(poll) = &mut self.poll {
            poll.upgrading = upgrading;
            if upgrading {
                poll.answer(PollAnswer::Noop);
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
    fn a_running_task_is_not_woken_and_rests_only_when_it_has_nothing_to_do() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let count = || woken.0.load(Ordering::Relaxed);
        let mut state = SessionState::new(Transport::WebSocket);
        state.begin_work();
        assert!(state.rest(&waker, || true));
        state.enqueue(Outgoing::message("from another task"));
        assert_eq!(count(), 1);

        state.begin_work();
        state.clear_queue();
        state.enqueue(Outgoing::message("from its own handler"));
        assert_eq!(count(), 1, "the task runs");
        assert!(!state.rest(&waker, || true), "the task can write this first");
        assert!(state.rest(&waker, || false), "its stream accepts nothing now");

        state.begin_work();
        state.clear_queue();
        state.wake_driver();
        assert!(!state.rest(&waker, || true), "the task has to check the requests");
        state.begin_work();
        assert!(state.rest(&waker, || true), "the task has checked the requests");
        assert_eq!(count(), 1);
        state.wake_driver();
        assert_eq!(count(), 2);
    }
}
