//! The Socket.IO layer of a session: its connected namespaces, and the handlers to which their packets are
//! passed.
//!
//! Invariant: a packet that breaks the protocol closes the session; a request that cannot be fulfilled (an
//! unknown namespace) is refused.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use mynah_wire::engine::{Body, CloseReason, Protocol, Time};
use mynah_wire::socket::{self, Assembler, Kind, Limits, Packet, Whole};
use serde_json::value::RawValue;

use crate::closing::Closing;
use crate::config::Config;
use crate::handshake::{Handshake, query_pairs};
use crate::http;
use crate::receiver::{Acceptor, BoxFuture, Flow, Receiver};
use crate::session::Session;
use crate::sid::Sid;
use crate::socket::{AckId, Acked, Socket};

/// Decides who may connect to which namespace.
pub trait Namespaces: Send + Sync + 'static {
    /// Called when a session was opened, to remove parts of the handshake that [`Namespaces::connect`] does
    /// not need. The handshake is kept until the client connects, which may take
    /// [`Config::connect_timeout_ms`](crate::Config::connect_timeout_ms). By default nothing is removed.
    fn trim(&self, handshake: &mut Handshake) {
        let _ = handshake;
    }

    /// A client asks to connect to `socket`'s namespace, with the `auth` that it sent (clients before 3.0:
    /// the query of the namespace). The socket is connected only after this: until [`Handler::connected`],
    /// events for it are dropped and disconnecting it has no effect.
    fn connect(
        &self,
        socket: &Socket,
        handshake: &Handshake,
        auth: Option<&RawValue>,
    ) -> Result<Box<dyn Handler>, ConnectRefused>;
}

/// Handles the events of one connected socket, in the order in which they arrive.
pub trait Handler: Send {
    /// The client has been told that it is connected. Called once, and first.
    fn connected(&mut self) {}

    /// An event arrived. Nothing further of this connection is handled until a returned future is done. The
    /// future runs to its end even if the connection closes meanwhile. While it is pending, the client's
    /// heartbeat deadlines are postponed: limit the time for which it waits.
    fn event(&mut self, event: Event<'_>) -> Option<BoxFuture>;

    /// When [`Handler::deadline_passed`] is to be called, if ever, on the clock of `now`. This is called when
    /// the client has been told that it is connected, when a future of [`Handler::event`] is done, and when a
    /// deadline has passed.
    fn deadline(&self, now: Time) -> Option<Time> {
        let _ = now;
        None
    }

    /// The deadline has passed. This may be called while a future of [`Handler::event`] is pending.
    fn deadline_passed(&mut self) {}

    /// The socket is disconnected. Called once, and last, when no future of [`Handler::event`] is pending any
    /// more.
    fn disconnected(&mut self, reason: DisconnectReason);
}

/// Why a client is not connected to a namespace.
#[derive(Debug, Clone)]
pub struct ConnectRefused {
    /// The message for the client's event `connect_error` (before 3.0: `error`).
    pub message: String,
    /// More data for the client, at the application's choice.
    pub data: Option<Box<RawValue>>,
}

impl ConnectRefused {
    /// The namespace does not exist. The message is the one that Node's server sends.
    pub fn invalid_namespace() -> Self {
        Self {
            message: "Invalid namespace".into(),
            data: None,
        }
    }
}

/// An event that arrived.
#[derive(Debug)]
pub struct Event<'a> {
    /// The event's name.
    pub name: &'a str,
    /// The event's arguments as JSON, with placeholders for binary data.
    pub args: &'a [&'a RawValue],
    /// The binary data to which the placeholders refer.
    pub attachments: &'a [Bytes],
    /// The id for an acknowledgement, if the client waits for one.
    pub ack: Option<AckId>,
}

/// Why a socket is disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client disconnected from the namespace.
    Client,
    /// The server disconnected the client.
    Server,
    /// The session ended.
    Session(CloseReason),
}

impl DisconnectReason {
    /// The reason in the words of Node's server, where it has some.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client namespace disconnect",
            Self::Server => "server namespace disconnect",
            Self::Session(reason) => reason.as_str(),
        }
    }
}

/// The maximum number of namespaces in [`Client::dismissed`].
const MOST_DISMISSED: usize = 16;

/// Creates the Socket.IO layer of each session.
pub(crate) struct SocketLayer(Arc<Settings>);

/// What the Socket.IO layers of all sessions share.
struct Settings {
    namespaces: Arc<dyn Namespaces>,
    limits: Limits,
    connect_timeout_ms: u32,
    /// How long the attachments of a packet may take to arrive.
    packet_timeout_ms: u32,
    keep_handshake: bool,
}

impl SocketLayer {
    pub(crate) fn new(namespaces: Arc<dyn Namespaces>, config: &Config) -> Self {
        Self(Arc::new(Settings {
            namespaces,
            limits: Limits {
                max_attachments: config.max_attachments,
                // Attachments that are not kept are limited by time, and by the size of a message.
                max_bytes: if config.keep_attachments {
                    config.max_payload_bytes
                } else {
                    usize::MAX
                },
                keep_attachments: config.keep_attachments,
            },
            connect_timeout_ms: config.connect_timeout_ms,
            // As long as one message may take, because heartbeats are not read before it is complete.
            packet_timeout_ms: config.ping_interval_ms.saturating_add(config.ping_timeout_ms),
            keep_handshake: config.keep_handshake,
        }))
    }
}

impl Acceptor for SocketLayer {
    fn open(&self, session: &Session, mut handshake: Handshake) -> Box<dyn Receiver> {
        let settings = &self.0;
        settings.namespaces.trim(&mut handshake);
        if !settings.keep_handshake && session.protocol() == Protocol::V4 {
            // The headers are kept until the client connects.
            handshake.headers = http::own(&handshake.headers);
        }
        let mut client = Client {
            settings: settings.clone(),
            session: session.clone(),
            handshake: Some(Box::new(handshake)),
            assembler: Assembler::new(),
            packet_by: None,
            joined: Vec::new(),
            dismissed: Vec::new(),
            deadline: None,
        };
        match session.protocol() {
            // Clients of EIO3 are connected to "/" without asking. If that is refused, the client is told so
            // and may ask for other namespaces.
            Protocol::V3 => client.join("/", None),
            Protocol::V4 => client.deadline = Some(session.now().after(settings.connect_timeout_ms)),
        }
        Box::new(client)
    }
}

/// The client broke the protocol. The session is closed.
struct Broken;

impl From<socket::DecodeError> for Broken {
    fn from(_: socket::DecodeError) -> Self {
        Self
    }
}

struct Joined {
    socket: Socket,
    handler: Box<dyn Handler>,
}

impl Joined {
    fn leave(mut self, reason: DisconnectReason) {
        self.socket.set_left();
        let told = std::panic::catch_unwind(AssertUnwindSafe(|| self.handler.disconnected(reason)));
        if told.is_err() {
            // The panic hook has reported the panic. The connection's other handlers have to be told too.
            tracing::error!("a handler panicked while handling the end of its socket");
        }
    }
}

/// The Socket.IO layer of one session.
struct Client {
    settings: Arc<Settings>,
    session: Session,
    handshake: Option<Box<Handshake>>,
    assembler: Assembler,
    /// When the missing attachments of a packet must have arrived.
    packet_by: Option<Time>,
    joined: Vec<Joined>,
    /// Namespaces from which the server has disconnected the client. Packets for them may still be in flight.
    dismissed: Vec<Box<str>>,
    /// The deadline to connect to a first namespace, and after that the earliest deadline of the handlers.
    deadline: Option<Time>,
}

impl Client {
    fn packet(&mut self, whole: &Whole<'_>) -> Result<Option<BoxFuture>, Broken> {
        let packet = whole.packet();
        match packet.kind {
            Kind::Disconnect | Kind::Event | Kind::BinaryEvent | Kind::Ack | Kind::BinaryAck
                if self.dismissed.iter().any(|left| **left == *packet.namespace) =>
            {
                Ok(None)
            }
            Kind::Connect => self.connect(&packet).map(|()| None),
            Kind::ConnectError => Err(Broken),
            Kind::Disconnect => {
                let at = self.position(packet.namespace)?;
                let joined = self.joined.remove(at);
                joined.leave(DisconnectReason::Client);
                self.ask_deadlines();
                Ok(None)
            }
            Kind::Event | Kind::BinaryEvent => {
                let at = self.position(packet.namespace)?;
                // An event without a payload has no name, and is ignored.
                let Some(payload) = packet.payload else {
                    return Ok(None);
                };
                let (name, args) = socket::event_args(payload)?;
                Ok(self.joined[at].handler.event(Event {
                    name: &name,
                    args: &args,
                    attachments: &whole.attachments,
                    ack: packet.id.map(AckId),
                }))
            }
            Kind::Ack | Kind::BinaryAck => {
                let args = packet.payload.map_or(Ok(Vec::new()), socket::ack_args)?;
                let at = self.position(packet.namespace)?;
                self.joined[at]
                    .socket
                    .acknowledged(packet.id.ok_or(Broken)?, || Acked {
                        args: args.into_iter().map(ToOwned::to_owned).collect(),
                        attachments: whole.attachments.clone(),
                    });
                Ok(None)
            }
        }
    }

    fn protocol(&self) -> Protocol {
        self.session.protocol()
    }

    fn position(&self, namespace: &str) -> Result<usize, Broken> {
        self.joined
            .iter()
            .position(|joined| joined.socket.namespace() == namespace)
            .ok_or(Broken)
    }

    fn connect(&mut self, packet: &Packet<'_>) -> Result<(), Broken> {
        if self.position(packet.namespace).is_ok() {
            // Clients of EIO3 are already connected to "/", and some ask for it again.
            return if self.protocol() == Protocol::V3 {
                Ok(())
            } else {
                Err(Broken)
            };
        }
        let auth = match self.protocol() {
            Protocol::V4 => packet
                .payload
                .map(serde_json::from_str::<&RawValue>)
                .transpose()
                .map_err(|_| Broken)?,
            Protocol::V3 => None,
        };
        let query = packet
            .query
            .filter(|_| self.protocol() == Protocol::V3)
            .and_then(query_object);
        self.join(packet.namespace, auth.or(query.as_deref()));
        Ok(())
    }

    fn join(&mut self, namespace: &str, auth: Option<&RawValue>) {
        let refused = ConnectRefused::invalid_namespace();
        let id = socket_id(&self.session, namespace);
        let (Some(id), Some(handshake)) = (id, &self.handshake) else {
            return self.refuse(namespace, &refused);
        };
        let socket = Socket::new(self.session.clone(), namespace, id);
        match self.settings.namespaces.connect(&socket, handshake, auth) {
            Err(refused) => self.refuse(namespace, &refused),
            Ok(handler) => {
                self.deadline = None;
                self.dismissed.retain(|left| **left != *namespace);
                if !self.settings.keep_handshake {
                    self.handshake = None;
                }
                self.session
                    .send_text(&socket::encode_connect(self.protocol(), namespace, socket.id()));
                socket.joined();
                // Almost every client connects to one namespace only.
                self.joined.reserve_exact(1);
                let joined = self.joined.push_mut(Joined { socket, handler });
                joined.handler.connected();
                self.ask_deadlines();
            }
        }
    }

    fn refuse(&self, namespace: &str, refused: &ConnectRefused) {
        let ConnectRefused { message, data } = refused;
        self.session.send_text(&socket::encode_connect_error(
            self.protocol(),
            namespace,
            message,
            data.as_deref(),
        ));
    }

    fn ask_deadlines(&mut self) {
        let now = self.session.now();
        let handlers = self.joined.iter();
        self.deadline = handlers.filter_map(|joined| joined.handler.deadline(now)).min();
    }

    /// Disconnects the client from a namespace. Packets of the client that crossed the disconnect are ignored
    /// after this. Node's server closes the connection for them, and the client, which did not notice that it
    /// was disconnected on purpose, reconnects.
    fn dismiss(&mut self, at: usize) {
        let joined = self.joined.remove(at);
        if self.dismissed.len() == MOST_DISMISSED {
            self.dismissed.remove(0);
        }
        self.dismissed.push(joined.socket.namespace().into());
        joined.leave(DisconnectReason::Server);
        self.ask_deadlines();
    }
}

impl Receiver for Client {
    fn message(&mut self, body: Body<'_>) -> Flow {
        let limits = &self.settings.limits;
        let whole = match &body {
            Body::Text(text) => self.assembler.text(text, limits),
            Body::Binary(bytes) => self.assembler.binary(bytes, limits),
        };
        if !self.assembler.is_waiting() {
            self.packet_by = None;
        } else if self.packet_by.is_none() {
            self.packet_by = Some(self.session.now().after(self.settings.packet_timeout_ms));
        }
        match whole
            .map_err(Broken::from)
            .and_then(|whole| whole.map_or(Ok(None), |whole| self.packet(&whole)))
        {
            Ok(None) => Flow::Continue,
            Ok(Some(future)) => Flow::Wait(future),
            Err(Broken) => Flow::Close(CloseReason::ParseError),
        }
    }

    fn attention(&mut self, waiting: bool) {
        if self.joined.iter().any(|joined| joined.socket.is_for_good()) {
            // The whole connection is closed. Each namespace is told so if it was not before, and that is its
            // last packet.
            for Joined { socket, .. } in &self.joined {
                if socket.set_left() || socket.is_for_good() {
                    let farewell = socket::encode_disconnect(socket.namespace());
                    self.session.send_text(&farewell);
                }
            }
            self.session
                .close(Closing::AfterFlush(CloseReason::DisconnectedForGood));
        }
        // A disconnected handler is told when its future is done.
        while let Some(at) = self.joined.iter().position(|joined| joined.socket.has_left())
            && !waiting
        {
            self.dismiss(at);
        }
        // A client without a namespace keeps its deadline to connect to one.
        if !waiting && !self.joined.is_empty() {
            self.ask_deadlines();
        }
    }

    fn held_bytes(&self) -> usize {
        self.assembler.held_bytes()
    }

    fn deadline(&self) -> Option<Time> {
        match (self.deadline, self.packet_by) {
            (Some(deadline), Some(packet_by)) => Some(deadline.min(packet_by)),
            (deadline, packet_by) => deadline.or(packet_by),
        }
    }

    fn deadline_passed(&mut self) -> Option<CloseReason> {
        let now = self.session.now();
        if self.joined.is_empty() || self.packet_by.is_some_and(|at| now >= at) {
            return Some(CloseReason::ServerClose);
        }
        for Joined { handler, .. } in &mut self.joined {
            if handler.deadline(now).is_some_and(|at| now >= at) {
                handler.deadline_passed();
            }
        }
        self.ask_deadlines();
        // A deadline that is computed from another clock may pass between these two questions. Then its
        // handler is told a moment later.
        self.deadline = self.deadline.map(|at| at.max(now.after(1)));
        None
    }

    fn closed(&mut self, reason: CloseReason) {
        while let Some(joined) = self.joined.pop() {
            let left = joined.socket.has_left();
            joined.leave(if left {
                DisconnectReason::Server
            } else {
                DisconnectReason::Session(reason)
            });
        }
    }
}

impl Drop for Client {
    /// If a handler panics while the session is being opened, the handlers are told of the end here.
    fn drop(&mut self) {
        self.closed(CloseReason::ServerClose);
    }
}

/// The socket's id. Clients of EIO3 compute it themselves; later clients are told.
fn socket_id(session: &Session, namespace: &str) -> Option<Box<str>> {
    match (session.protocol(), namespace) {
        (Protocol::V4, _) => Sid::random().ok().map(|sid| sid.as_str().into()),
        (Protocol::V3, "/") => Some(session.sid().into()),
        (Protocol::V3, _) => Some(format!("{namespace}#{}", session.sid()).into()),
    }
}

/// The query of a namespace as an `auth` object, in the form that Node's server gives it.
fn query_object(query: &str) -> Option<Box<RawValue>> {
    let object: serde_json::Map<_, _> = query_pairs(query)
        .map(|(name, value)| (name, serde_json::Value::String(value)))
        .collect();
    serde_json::value::to_raw_value(&object).ok()
}
