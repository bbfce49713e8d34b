//! What a session keeps of its polling requests: the GET that waits, and the body that a POST brought.

use mynah_wire::engine::CloseReason;
use mynah_wire::engine::payload::PostForm;
use tokio::sync::oneshot;

use crate::front::admission::Held;

/// The polling side of a session's state.
#[derive(Default)]
pub(crate) struct Pending {
    /// The GET that waits.
    waiter: Option<oneshot::Sender<Answer>>,
    /// A WebSocket has probed.
    pub(crate) upgrading: bool,
    /// The session is over, and waits for the next GET.
    pub(crate) goodbye: Option<Goodbye>,
}

/// The answer to the next GET of a session that is over: it makes the client reconnect, or not (see
/// [`CloseReason::wants_reconnect`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// What is queued. The GET after it is refused, as one of an unknown session, and the client reconnects.
    Rest,
    /// What is queued, or else a close packet, after which the client does not reconnect.
    ClosePacket,
}

/// How a waiting GET is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// With what is queued.
    Fetch,
    /// With a noop.
    Noop,
    /// With a close packet.
    Close,
}

impl Pending {
    /// Whether a GET waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiter.as_ref().is_some_and(|waiter| !waiter.is_closed())
    }

    /// Has a GET wait for its answer.
    pub(crate) fn wait(&mut self) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.waiter = Some(sender);
        receiver
    }

    /// Answers the waiting GET; false when there is none.
    pub(crate) fn answer(&mut self, answer: Answer) -> bool {
        self.waiter
            .take()
            .is_some_and(|waiter| waiter.send(answer).is_ok())
    }
}

/// A body that a POST brought.
pub(crate) struct Post {
    pub(crate) form: PostForm,
    pub(crate) body: Vec<u8>,
    /// Counts the body.
    pub(crate) held: Held,
    /// Told whether the body was valid, once its packets have been handled.
    pub(crate) done: oneshot::Sender<bool>,
}

impl Post {
    /// The session ended before the body was read. A POST that fails would look like the loss of the connection.
    pub(crate) fn abandon(self, reason: CloseReason) {
        let _ = self.done.send(reason != CloseReason::ParseError);
    }
}
