//! A client's connection to one namespace, as the application sees it.
//!
//! Invariant: once a socket is disconnected (by the server, by the client, or with its session), nothing more
//! is queued for it.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use mynah_wire::engine::{CloseReason, Protocol, Transport};
use mynah_wire::socket;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::closing::Closing;
use crate::encoded::{Encoded, Outgoing};
use crate::session::Session;

/// The id of an event for which a client expects an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AckId(pub u64);

/// The acknowledgement of a client.
#[derive(Debug, Clone)]
pub struct Acked {
    /// The arguments as JSON.
    pub args: Vec<Box<RawValue>>,
    /// The binary data to which placeholders in the arguments refer.
    pub attachments: Vec<Bytes>,
}

/// Why an acknowledgement will not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// The socket is disconnected.
    #[error("the client has disconnected")]
    Disconnected,
    /// The socket has [`Config::max_pending_acks`](crate::Config::max_pending_acks) pending acknowledgements.
    #[error("too many acknowledgements are pending")]
    TooMany,
}

/// The acknowledgements that a client has not sent yet.
#[derive(Default)]
struct Owed {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Acked>>,
}

struct Inner {
    session: Session,
    /// `None` means `/`.
    namespace: Option<Box<str>>,
    id: Box<str>,
    owed: Mutex<Option<Box<Owed>>>,
    /// Whether the socket is disconnected. This is read under the session's lock, so nothing is queued after
    /// the last packets.
    left: AtomicBool,
    for_good: AtomicBool,
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
            // The socket counts as disconnected until the client has been told that it is connected.
            left: AtomicBool::new(true),
            for_good: AtomicBool::new(false),
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

    /// The version of Engine.IO.
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

    /// The session of the connection. All its namespaces share it.
    pub fn session(&self) -> &Session {
        &self.0.session
    }

    /// Whether events are still queued for the client.
    pub fn is_connected(&self) -> bool {
        !self.0.left.load(Ordering::Acquire) && !self.0.session.state().ended
    }

    /// Whether both are the same connection to a namespace.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Queues an encoded event; false if the socket is disconnected, or if this event closes it because the
    /// client reads too slowly.
    pub fn send(&self, event: &Encoded) -> bool {
        self.enqueue(std::iter::once(event.outgoing()))
    }

    /// Queues an event; the result is that of [`Socket::send`].
    pub fn emit(&self, name: &str, args: &[&RawValue]) -> bool {
        self.emit_binary(name, args, &[])
    }

    /// Queues an event whose arguments refer to `attachments` by placeholders; the result is that of
    /// [`Socket::send`].
    pub fn emit_binary(&self, name: &str, args: &[&RawValue], attachments: &[Bytes]) -> bool {
        let head = Outgoing::event(self.namespace(), None, name, args, attachments.len());
        self.enqueue(packets(head, attachments))
    }

    /// Queues an event that asks for an acknowledgement. Wrap the future in a timeout, because a client may
    /// never answer.
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
        Ok(async move { receiver.await.map_err(|_| AckError::Disconnected) })
    }

    /// Acknowledges an event; the result is that of [`Socket::send`].
    pub fn ack(&self, id: AckId, args: &[&RawValue]) -> bool {
        self.ack_binary(id, args, &[])
    }

    /// Like [`Socket::ack`], with arguments that refer to `attachments` by placeholders.
    pub fn ack_binary(&self, id: AckId, args: &[&RawValue], attachments: &[Bytes]) -> bool {
        let head = Outgoing::ack(self.namespace(), id.0, args, attachments.len());
        self.enqueue(packets(head, attachments))
    }

    /// Disconnects the client from this namespace. The session stays open. The client does not reconnect by
    /// itself.
    pub fn disconnect(&self) {
        let farewell = Outgoing::message(&socket::encode_disconnect(self.namespace()));
        self.leave([farewell], false);
    }

    /// Disconnects the client from all its namespaces, and closes the connection once everything queued has
    /// been written. The client does not reconnect by itself.
    pub fn disconnect_for_good(&self) {
        self.leave([], true);
    }

    /// Queues `last` as the last event, and then does the same as [`Socket::disconnect_for_good`].
    pub fn disconnect_for_good_after(&self, last: &Encoded) {
        self.leave([last.outgoing()], true);
    }

    /// Closes the connection once everything queued has been written. The client is expected to reconnect by
    /// itself.
    pub fn close_to_reconnect(&self) {
        self.0
            .session
            .close(Closing::AfterFlush(CloseReason::ServerClose));
    }

    /// Closes the connection at once. The reason says whether the client is expected to reconnect by itself
    /// ([`CloseReason::wants_reconnect`]).
    pub fn close_now(&self, reason: CloseReason) {
        self.0.session.close(Closing::Now(reason));
    }

    fn enqueue(&self, packets: impl IntoIterator<Item = Outgoing>) -> bool {
        self.0.session.enqueue_unless(&self.0.left, packets)
    }

    fn leave(&self, last: impl IntoIterator<Item = Outgoing>, for_good: bool) {
        if for_good && !self.has_left() {
            // This is set before `left`. If the session's task saw only `left`, it would only disconnect the
            // namespace.
            self.0.for_good.store(true, Ordering::Release);
        }
        self.0.session.enqueue_last(&self.0.left, last);
        self.0.session.call_attention();
    }

    /// The client has been told that it is connected.
    pub(crate) fn joined(&self) {
        self.0.left.store(false, Ordering::Release);
    }

    /// Nothing more is queued, and pending acknowledgements fail. Returns false if the socket was
    /// disconnected before.
    pub(crate) fn set_left(&self) -> bool {
        let left = self.0.left.swap(true, Ordering::AcqRel);
        *self.0.owed.lock() = None;
        !left
    }

    pub(crate) fn has_left(&self) -> bool {
        self.0.left.load(Ordering::Acquire)
    }

    /// Whether the whole connection is to be closed.
    pub(crate) fn is_for_good(&self) -> bool {
        self.0.for_good.load(Ordering::Acquire)
    }

    /// An acknowledgement arrived. If nobody waits for it, it is ignored.
    pub(crate) fn acknowledged(&self, id: u64, acked: impl FnOnce() -> Acked) {
        let waiting = self
            .0
            .owed
            .lock()
            .as_mut()
            .and_then(|owed| owed.waiting.remove(&id));
        if let Some(waiting) = waiting {
            // The task that waited may have given up.
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
