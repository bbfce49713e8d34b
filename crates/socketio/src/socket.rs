//! A client's connection to one namespace, as the application holds it.
//!
//! Invariant: once a socket has left (sent away, disconnected, session over) nothing more is queued for it.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use mynah_wire::engine::{CloseReason, Protocol, Transport};
use mynah_wire::socket;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::closing::Closing;
use crate::encoded::{Encoded, Outgoing};
use crate::session::Session;

/// The number under which a client waits for an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AckId(pub u64);

/// What a client acknowledged with.
#[derive(Debug, Clone)]
pub struct Acked {
    /// The arguments as JSON.
    pub args: Vec<Box<RawValue>>,
    /// Their binary parts.
    pub attachments: Vec<Bytes>,
}

/// Why there will be no acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckError {
    /// The socket has left.
    Disconnected,
    /// The client owes as many acknowledgements as it may.
    TooMany,
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "the client has disconnected",
            Self::TooMany => "the client owes too many acknowledgements",
        })
    }
}

impl std::error::Error for AckError {}

/// Acknowledgements that a client owes.
#[derive(Default)]
struct Owed {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Acked>>,
}

struct Inner {
    session: Session,
    /// `None` is `/`.
    namespace: Option<Box<str>>,
    id: Box<str>,
    owed: Mutex<Option<Box<Owed>>>,
    /// Read under the session's lock, so that what is queued after it was set is queued behind what was queued before.
    left: AtomicBool,
    away: AtomicBool,
}

/// A client's connection to one namespace. Clones are cheap and share it.
#[derive(Clone)]
pub struct Socket(Arc<Inner>);

impl Socket {
    pub(crate) fn new(session: Session, namespace: &str, id: Box<str>) -> Self {
        Self(Arc::new(Inner {
            session,
            namespace: (namespace != "/").then(|| namespace.into()),
            id,
            owed: Mutex::new(None),
            // Until the client has been told that it is connected.
            left: AtomicBool::new(true),
            away: AtomicBool::new(false),
        }))
    }

    /// The socket's id, as the client knows it.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The namespace, `/` in most cases.
    pub fn namespace(&self) -> &str {
        self.0.namespace.as_deref().unwrap_or("/")
    }

    /// Engine.IO revision.
    pub fn protocol(&self) -> Protocol {
        self.0.session.protocol()
    }

    /// The current transport.
    pub fn transport(&self) -> Transport {
        self.0.session.transport()
    }

    /// The peer's address at the handshake.
    pub fn address(&self) -> SocketAddr {
        self.0.session.address()
    }

    /// The session below; namespaces of one connection share it.
    pub fn session(&self) -> &Session {
        &self.0.session
    }

    /// Whether events still reach the client's queue.
    pub fn is_connected(&self) -> bool {
        !self.0.left.load(Ordering::Acquire) && !self.0.session.state().ended
    }

    /// Whether both are the same connection.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Queues an event encoded before. False when the socket has left, or leaves because its reader fell behind.
    pub fn send(&self, event: &Encoded) -> bool {
        self.enqueue(std::iter::once(event.outgoing()))
    }

    /// Queues an event; answers as [`Socket::send`].
    pub fn emit(&self, name: &str, args: &[&RawValue]) -> bool {
        self.emit_binary(name, args, &[])
    }

    /// Queues an event whose arguments refer to `attachments` by placeholders; answers as [`Socket::send`].
    pub fn emit_binary(&self, name: &str, args: &[&RawValue], attachments: &[Bytes]) -> bool {
        let head = Outgoing::event(self.namespace(), None, name, args, attachments.len());
        self.enqueue(packets(head, attachments))
    }

    /// Queues an event that asks for an acknowledgement. Wrap the future in a timeout: a client may never answer.
    pub fn emit_with_ack(
        &self,
        name: &str,
        args: &[&RawValue],
        attachments: &[Bytes],
    ) -> Result<impl Future<Output = Result<Acked, AckError>> + Send + use<>, AckError> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut owed = self.0.owed.lock();
            let owed = owed.get_or_insert_default();
            owed.waiting.retain(|_, waiting| !waiting.is_closed());
            if owed.waiting.len() >= self.0.session.server().config.max_pending_acks {
                return Err(AckError::TooMany);
            }
            let id = owed.next;
            owed.next += 1;
            owed.waiting.insert(id, sender);
            id
        };
        let head = Outgoing::event(self.namespace(), Some(id), name, args, attachments.len());
        if !self.enqueue(packets(head, attachments)) {
            return Err(AckError::Disconnected);
        }
        Ok(AckFuture(receiver))
    }

    /// Answers an event that asked for an acknowledgement; answers as [`Socket::send`].
    pub fn ack(&self, id: AckId, args: &[&RawValue]) -> bool {
        self.ack_binary(id, args, &[])
    }

    /// As [`Socket::ack`], with arguments that refer to `attachments` by placeholders.
    pub fn ack_binary(&self, id: AckId, args: &[&RawValue], attachments: &[Bytes]) -> bool {
        let head = Outgoing::ack(self.namespace(), id.0, args, attachments.len());
        self.enqueue(packets(head, attachments))
    }

    /// Disconnects the client from this namespace. The session stays. The client does not come back by itself.
    pub fn disconnect(&self) {
        let farewell = Outgoing::message(&socket::encode_disconnect(self.namespace()));
        self.leave([farewell], false);
    }

    /// Disconnects the client from all its namespaces, then closes the connection once all that is queued is written. The client
    /// does not come back by itself.
    pub fn send_away(&self) {
        self.leave([], true);
    }

    /// Queues `last`, after which nothing more is queued, and does as [`Socket::send_away`].
    pub fn send_away_with(&self, last: &Encoded) {
        self.leave([last.outgoing()], true);
    }

    /// Closes the connection once all that is queued is written, in such a way that the client comes back by itself.
    pub fn close_to_come_back(&self) {
        self.0
            .session
            .close(Closing::AfterFlush(CloseReason::ServerClose));
    }

    /// Closes the connection at once for this reason, in such a way that the client comes back by itself.
    pub fn cut(&self, reason: CloseReason) {
        self.0.session.close(Closing::Now(reason));
    }

    fn enqueue(&self, packets: impl IntoIterator<Item = Outgoing>) -> bool {
        self.0.session.enqueue_unless(&self.0.left, packets)
    }

    fn leave(&self, last: impl IntoIterator<Item = Outgoing>, away: bool) {
        if away && !self.has_left() {
            // Before `left`, which alone would make the session's task take leave of the namespace only.
            self.0.away.store(true, Ordering::Release);
        }
        self.0.session.enqueue_last(&self.0.left, last);
        self.0.session.call_attention();
    }

    /// The client has been told that it is connected.
    pub(crate) fn joined(&self) {
        self.0.left.store(false, Ordering::Release);
    }

    /// Nothing more is queued; who waits for acknowledgements learns that there will be none. False when it had left already.
    pub(crate) fn set_left(&self) -> bool {
        let left = self.0.left.swap(true, Ordering::AcqRel);
        *self.0.owed.lock() = None;
        !left
    }

    pub(crate) fn has_left(&self) -> bool {
        self.0.left.load(Ordering::Acquire)
    }

    /// Whether the whole connection is to be closed.
    pub(crate) fn is_away(&self) -> bool {
        self.0.away.load(Ordering::Acquire)
    }

    /// An acknowledgement came. One that nobody waits for is ignored.
    pub(crate) fn acknowledged(&self, id: u64, acked: impl FnOnce() -> Acked) {
        let waiting = self
            .0
            .owed
            .lock()
            .as_mut()
            .and_then(|owed| owed.waiting.remove(&id));
        if let Some(waiting) = waiting {
            // Whoever waited may have given up.
            let _ = waiting.send(acked());
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", &self.id())
            .field("namespace", &self.namespace())
            .finish()
    }
}

fn packets(head: Outgoing, attachments: &[Bytes]) -> impl Iterator<Item = Outgoing> {
    std::iter::once(head).chain(attachments.iter().map(|bytes| Outgoing::binary(bytes)))
}

struct AckFuture(oneshot::Receiver<Acked>);

impl Future for AckFuture {
    type Output = Result<Acked, AckError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| AckError::Disconnected)
    }
}
