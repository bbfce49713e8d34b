//! What an embedding program adds: handlers for its own kinds, and listeners.
//!
//! Handlers and listeners run on the task of the connection, in the order of its events, so they must not
//! block.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::directory::{Connection, Registration};
use crate::ids::Uid;
use crate::kinds::APPLICATION;
use crate::reject::Reject;
use crate::session::Link;

/// A client's frame, of a kind for which the program has registered a handler.
#[derive(Debug)]
pub struct Call {
    /// The kind's number.
    pub kind: u16,
    /// The payload; `null` if there was none.
    pub data: Box<RawValue>,
    /// The sender.
    pub uid: Uid,
    /// The id of the connection.
    pub sid: Box<str>,
}

/// The result of a handler.
pub enum Reply {
    /// The handler has no answer. A client that waits for one gets `{"code":0}`.
    Nothing,
    /// A JSON object. It is the argument of the client's callback. Without a callback it is the `data` of a
    /// frame: of kind 100 if the client gave `req`, else of the handler's kind.
    Object(Box<RawValue>),
    /// A client that waits for an answer gets this code and sentence.
    Reject(Reject),
    /// The answer comes later. The connection's next frame waits for it.
    Later(Pin<Box<dyn Future<Output = Reply> + Send>>),
}

impl Reply {
    /// Replies with `value`, which must serialize to a JSON object.
    pub fn object(value: &impl Serialize) -> Self {
        match serde_json::value::to_raw_value(value) {
            Ok(raw) if raw.get().starts_with('{') => Self::Object(raw),
            _ => Self::Reject(Reject::internal("The reply was not an object.")),
        }
    }

    /// Replies with the result of `future`.
    pub fn later(future: impl Future<Output = Reply> + Send + 'static) -> Self {
        Self::Later(Box::pin(future))
    }
}

/// The kind cannot be registered: only the numbers 1000 to 9999 belong to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("kind {0} is not one of the application's own, 1000 to 9999")]
pub struct NotYours(pub u16);

type Handler = Arc<dyn Fn(Call) -> Reply + Send + Sync>;

/// The handlers by their kinds.
#[derive(Default)]
pub(crate) struct Handlers(RwLock<HashMap<u16, Handler>>);

impl Handlers {
    pub(crate) fn has(&self, kind: u16) -> bool {
        self.0.read().contains_key(&kind)
    }

    pub(crate) fn register(
        &self,
        kind: u16,
        handler: impl Fn(Call) -> Reply + Send + Sync + 'static,
    ) -> Result<(), NotYours> {
        if !APPLICATION.contains(&kind) {
            return Err(NotYours(kind));
        }
        self.0.write().insert(kind, Arc::new(handler));
        Ok(())
    }

    pub(crate) fn unregister(&self, kind: u16) -> bool {
        self.0.write().remove(&kind).is_some()
    }

    pub(crate) fn get(&self, kind: u16) -> Option<Handler> {
        self.0.read().get(&kind).cloned()
    }
}

/// What the embedding program has added.
#[derive(Default)]
pub(crate) struct Program {
    pub(crate) handlers: Handlers,
    pub(crate) listeners: Listeners,
}

/// A connection, as listeners see it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its Socket.IO id.
    pub sid: Box<str>,
    /// The client's address.
    pub address: SocketAddr,
    /// The user, once registered.
    pub uid: Option<Uid>,
}

impl Peer {
    fn new(connection: &Connection<Link>, registration: Option<&Registration>) -> Self {
        let outlet = connection.link.outlet();
        Self {
            sid: outlet.sid().into(),
            address: outlet.address(),
            uid: registration.map(|registration| registration.uid.clone()),
        }
    }
}

/// A client's message, as data listeners see it.
#[derive(Clone, Copy)]
pub enum Seen<'a> {
    /// A frame of a kind that has a handler.
    Frame {
        /// The kind's number.
        kind: u16,
        /// The payload.
        data: Option<&'a RawValue>,
    },
    /// The text of a message that is not a frame, or of a frame whose kind has no handler.
    Raw(&'a str),
}

impl fmt::Debug for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame { kind, .. } => write!(f, "frame of kind {kind}"),
            Self::Raw(text) => write!(f, "{} bytes", text.len()),
        }
    }
}

type OnConnect = dyn Fn(&Peer) + Send + Sync;
type OnData = dyn Fn(&Peer, Seen<'_>) + Send + Sync;
type OnClose = dyn Fn(&Peer, &str) + Send + Sync;
type OnError = dyn Fn(&str) + Send + Sync;

/// The listeners of the program.
#[derive(Default)]
pub(crate) struct Listeners {
    pub(crate) connect: Vec<Box<OnConnect>>,
    pub(crate) data: Vec<Box<OnData>>,
    pub(crate) close: Vec<Box<OnClose>>,
    pub(crate) error: Vec<Box<OnError>>,
}

impl Listeners {
    pub(crate) fn connected(&self, connection: &Connection<Link>) {
        if !self.connect.is_empty() {
            let peer = Peer::new(connection, None);
            self.connect.iter().for_each(|listener| listener(&peer));
        }
    }

    pub(crate) fn seen(&self, connection: &Connection<Link>, seen: Seen<'_>) {
        if !self.data.is_empty() {
            let peer = Peer::new(connection, connection.registration().as_deref());
            self.data.iter().for_each(|listener| listener(&peer, seen));
        }
    }

    pub(crate) fn closed(&self, connection: &Connection<Link>, was: Option<&Registration>, reason: &str) {
        if !self.close.is_empty() {
            let peer = Peer::new(connection, was);
            self.close.iter().for_each(|listener| listener(&peer, reason));
        }
    }

    pub(crate) fn failed(&self, error: &str) {
        self.error.iter().for_each(|listener| listener(error));
    }
}
