//! The polling requests of a session: its pending GET, and the body of its POST.

use mynah_front::Held;
use mynah_wire::engine::CloseReason;
use mynah_wire::engine::payload::PostForm;
use tokio::sync::oneshot;

/// The polling side of a session's state.
#[derive(Default)]
pub(crate) struct Pending {
    /// The pending GET.
    waiter: Option<oneshot::Sender<PollAnswer>>,
    /// Whether a WebSocket has probed.
    pub(crate) upgrading: bool,
    /// What the next GET is told, if the session has ended.
    pub(crate) goodbye: Option<Goodbye>,
}

/// The response to the next GET after the session has ended. It decides whether the client reconnects (see
/// [`CloseReason::wants_reconnect`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// The queued packets. The GET after them is refused as one of an unknown session, and the client
    /// reconnects.
    Rest,
    /// The queued packets, or a close packet if there are none. After a close packet the client does not
    /// reconnect.
    ClosePacket,
}

/// How a pending GET is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollAnswer {
    /// With the queued packets.
    Fetch,
    /// With a noop.
    Noop,
    /// With a close packet.
    Close,
}

impl Pending {
    /// Whether a GET is pending.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiter.as_ref().is_some_and(|waiter| !waiter.is_closed())
    }

    /// Registers a GET that waits for an answer.
    pub(crate) fn wait(&mut self) -> oneshot::Receiver<PollAnswer> {
        let (sender, receiver) = oneshot::channel();
        self.waiter = Some(sender);
        receiver
    }

    /// Answers the pending GET; false if there is none.
    pub(crate) fn answer(&mut self, answer: PollAnswer) -> bool {
        self.waiter
            .take()
            .is_some_and(|waiter| waiter.send(answer).is_ok())
    }
}

/// The body of a POST.
pub(crate) struct Post {
    pub(crate) form: PostForm,
    pub(crate) body: Vec<u8>,
    /// Counts the bytes of the body.
    pub(crate) held: Held,
    /// Receives whether the body was valid, once its packets have been handled.
    pub(crate) done: oneshot::Sender<bool>,
}

impl Post {
    /// The session ended before the body was read. To the client, a failed POST would look like a lost
    /// connection, so it only fails if the client broke the protocol.
    pub(crate) fn abandon(self, reason: CloseReason) {
        let _ = self.done.send(reason != CloseReason::ParseError);
    }
}
