//! The server: it decides which requests open a session, which ones belong to a session, and which ones are
//! refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use mynah_front::{AdmittedSession, Body, Cors, Refusal, RequestBody};
use mynah_wire::engine::{self, CloseReason, Dialect, EngineQuery, HttpError, Protocol, Transport};

use crate::closing::Closing;
use crate::config::Config;
use crate::driver::Driver;
use crate::handshake::Handshake;
use crate::http::{self, PollRequest};
use crate::namespaces::{Namespaces, SocketLayer};
use crate::pending::PollAnswer;
use crate::polling;
use crate::receiver::Acceptor;
use crate::session::Session;
use crate::sessions::Sessions;
use crate::shared::Shared;
use crate::sid::Sid;
use crate::upgrade;

/// The state that the clones of a server share.
struct Inner {
    shared: Arc<Shared>,
    sessions: Arc<Sessions>,
    /// Whether the server refuses to open sessions.
    draining: AtomicBool,
}

/// An Engine.IO server. Clones are cheap and share it.
#[derive(Clone)]
pub struct EngineServer(Arc<Inner>);

/// A Socket.IO server. Clones are cheap and share it.
#[derive(Clone)]
pub struct Server(EngineServer);

impl Server {
    /// A server with these namespaces.
    pub fn new(config: Config, namespaces: Arc<dyn Namespaces>) -> Self {
        let layer = SocketLayer::new(namespaces, &config);
        Self(EngineServer::with_texts(config, Box::new(layer), true))
    }
}

impl std::ops::Deref for Server {
    type Target = EngineServer;

    fn deref(&self) -> &EngineServer {
        &self.0
    }
}

impl EngineServer {
    /// A server whose sessions use the layer that `acceptor` creates.
    pub fn new(config: Config, acceptor: Box<dyn Acceptor>) -> Self {
        Self::with_texts(config, acceptor, false)
    }

    fn with_texts(config: Config, acceptor: Box<dyn Acceptor>, json_texts: bool) -> Self {
        let shared = Arc::new(Shared::new(config, json_texts));
        Self(Arc::new(Inner {
            sessions: Arc::new(Sessions::new(shared.clone(), acceptor)),
            shared,
            draining: AtomicBool::new(false),
        }))
    }

    /// Whether requests for `path` belong to the server: those for [`Config::path`] and below it, also
    /// without the slash at its end or with more slashes at its start. Proxies that rewrite paths send such
    /// requests, and cocos2d-x asks for `/socket.io/1/websocket/`.
    pub fn serves(&self, path: &str) -> bool {
        let ours = &*self.0.shared.config.path;
        let slashes = path.len() - path.trim_start_matches('/').len();
        let path = &path[slashes.saturating_sub(1)..];
        path.starts_with(ours) || ours.strip_suffix('/') == Some(path)
    }

    /// The number of open sessions.
    pub fn sessions(&self) -> usize {
        self.0.sessions.len()
    }

    /// The number of bytes that wait to be written, of all sessions.
    pub fn queued_bytes(&self) -> usize {
        self.0.sessions.all().iter().map(Session::queued_bytes).sum()
    }

    /// The number of sessions that were closed because the client read too slowly.
    pub fn slow_readers(&self) -> usize {
        self.0.shared.slow_readers()
    }

    /// Closes all sessions, spread over the time `over`, so that their clients reconnect by themselves.
    /// Returns once all sessions have ended and their handlers are done: wrap it in a timeout. From its call
    /// on no session is opened: clients that reconnect over an HTTP connection that they kept are refused,
    /// until they find another server.
    pub async fn drain(&self, over: Duration) {
        const BATCHES: u32 = 20;
        self.0.draining.store(true, Ordering::Release);
        let sessions = self.0.sessions.all();
        for batch in sessions.chunks(sessions.len().div_ceil(BATCHES as usize).max(1)) {
            for session in batch {
                session.close(Closing::AfterFlush(CloseReason::ServerShutdown));
            }
            tokio::time::sleep(over / BATCHES).await;
        }
        loop {
            let mut open = self.0.sessions.all();
            open.retain(|session| !session.is_waiting_goodbye());
            for session in &open {
                session.close(Closing::AfterFlush(CloseReason::ServerShutdown));
            }
            if open.is_empty() && self.0.shared.all_have_left() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Answers a request. `peer` is the client's address.
    pub async fn handle(&self, request: Request<RequestBody>, peer: SocketAddr) -> Response<Body> {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = match self.answer_page(&request, peer) {
            Some(response) => response,
            None => self.handle_checked(request, peer).await,
        };
        self.allow(origin, response.headers_mut());
        response
    }

    /// The answer to what concerns the page that sends a request, and no session: a preflight request, and a
    /// request of a page whose origin is not allowed. `None` for every other request.
    pub fn answer_page<B>(&self, request: &Request<B>, peer: SocketAddr) -> Option<Response<Body>> {
        let config = &self.0.shared.config;
        let headers = request.headers();
        if request.method() == Method::OPTIONS {
            return Some(Cors::preflight(headers));
        }
        if !config.refuse_origins || config.cors.admits(headers) {
            return None;
        }
        tracing::debug!(origin = ?headers.get(header::ORIGIN), "refused a request: its origin is not allowed");
        config.admission.refuse(Refusal::Origin, peer.ip());
        Some(http::refuse_origin())
    }

    /// Adds what lets pages of `origin`, the header of the request, read the response.
    pub fn allow(&self, origin: Option<HeaderValue>, response: &mut HeaderMap) {
        self.0.shared.config.cors.allow(origin, response);
    }

    /// Whether a request asks for a WebSocket.
    pub fn is_upgrade<B>(request: &Request<B>) -> bool {
        upgrade::is_websocket(request.headers())
    }

    /// The answer to a request for a session that does not exist.
    pub fn session_unknown(is_upgrade: bool) -> Response<Body> {
        if is_upgrade {
            http::refuse_upgrade(HttpError::SessionUnknown)
        } else {
            http::refuse(HttpError::SessionUnknown)
        }
    }

    /// The answer to a request beyond this limit of connections.
    pub fn too_many(refusal: Refusal) -> Response<Body> {
        http::too_many(refusal)
    }

    /// Closes a session so that its client reconnects by itself, as [`EngineServer::drain`] does. Another
    /// server calls this that has the client's connection and stops.
    pub fn close_to_reconnect(&self, sid: &str) {
        if let Some(session) = Sid::parse(sid).and_then(|sid| self.0.sessions.get(&sid)) {
            session.close(Closing::AfterFlush(CloseReason::ServerShutdown));
        }
    }

    /// Ends the pending GET of a session, as another request behind it on its connection does. Another server
    /// calls this that has the client's connection.
    pub fn end_poll(&self, sid: &str) {
        if let Some(session) = Sid::parse(sid).and_then(|sid| self.0.sessions.get(&sid))
            && let Some(poll) = &mut session.state().poll
        {
            poll.answer(PollAnswer::Noop);
        }
    }

    /// Like [`EngineServer::handle`] for a request for which another server has done the rest: see
    /// [`EngineServer::answer_page`] and [`EngineServer::allow`].
    pub async fn handle_checked(&self, request: Request<RequestBody>, peer: SocketAddr) -> Response<Body> {
        let query = engine::parse_query(request.uri().query().unwrap_or_default());
        let upgrade = upgrade::is_websocket(request.headers());
        let refuse = |error: HttpError| {
            tracing::debug!(%peer, why = error.message(), "refused a request");
            if upgrade {
                http::refuse_upgrade(error)
            } else {
                http::refuse(error)
            }
        };
        let Some(transport) = query.transport() else {
            return refuse(HttpError::TransportUnknown);
        };
        if upgrade && transport != Transport::WebSocket {
            return refuse(HttpError::BadRequest);
        }
        match query.session() {
            None if self.0.draining.load(Ordering::Acquire) => http::unavailable(),
            None => match self.may_open(&request, &query, transport, upgrade) {
                Ok(protocol) => match self.0.shared.config.admission.admit_session(peer.ip()) {
                    Ok(admitted) => {
                        let handshake = self.handshake(&request, protocol, transport, peer);
                        self.open(request, handshake, query.dialect(), admitted)
                    }
                    Err(refusal) => http::too_many(refusal),
                },
                Err(error) => refuse(error),
            },
            Some(sid) => {
                let Some(session) = Sid::parse(sid).and_then(|sid| self.0.sessions.get(&sid)) else {
                    return refuse(HttpError::SessionUnknown);
                };
                if self.protocol(&query) != Some(session.protocol()) {
                    return refuse(HttpError::BadRequest);
                }
                if upgrade {
                    return upgrade::take_over(request, session);
                }
                if transport != session.transport() || transport != Transport::Polling {
                    return refuse(HttpError::BadRequest);
                }
                match *request.method() {
                    Method::GET => {
                        let poll = PollRequest::new(&request);
                        // The rest of the request would hold 8 KiB as long as the poll is pending.
                        let behind = request.into_body().behind();
                        polling::get(&session, &poll, behind).await
                    }
                    Method::POST => polling::post(&session, request).await,
                    _ => http::empty(StatusCode::INTERNAL_SERVER_ERROR),
                }
            }
        }
    }

    fn protocol(&self, query: &EngineQuery) -> Option<Protocol> {
        query.protocol(self.0.shared.config.eio2_as_eio3)
    }

    fn may_open(
        &self,
        request: &Request<RequestBody>,
        query: &EngineQuery,
        transport: Transport,
        upgrade: bool,
    ) -> Result<Protocol, HttpError> {
        if request.method() != Method::GET {
            return Err(HttpError::BadHandshakeMethod);
        }
        if transport == Transport::WebSocket && !upgrade {
            return Err(HttpError::BadRequest);
        }
        self.protocol(query).ok_or(HttpError::UnsupportedProtocol)
    }

    fn handshake(
        &self,
        request: &Request<RequestBody>,
        protocol: Protocol,
        transport: Transport,
        address: SocketAddr,
    ) -> Handshake {
        Handshake {
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: if self.0.shared.config.keep_handshake {
                http::own(request.headers())
            } else {
                request.headers().clone()
            },
            address,
            protocol,
            transport,
            issued: SystemTime::now(),
        }
    }

    fn open(
        &self,
        request: Request<RequestBody>,
        handshake: Handshake,
        dialect: Dialect,
        admitted: AdmittedSession,
    ) -> Response<Body> {
        if handshake.transport == Transport::WebSocket {
            return upgrade::open(request, handshake, dialect, &self.0.sessions, admitted);
        }
        let (session, receiver) = match self.0.sessions.open(handshake, dialect, admitted) {
            Ok(opened) => opened,
            Err(error) => return http::refuse(error),
        };
        // The open packet alone, as in Node's server. Packets that the layer above has queued already wait
        // for the first poll.
        let open = session.state().take_first();
        let mut response = polling::answer(&session, &PollRequest::new(&request), open.as_slice());
        if let Some(name) = &self.0.shared.config.cookie {
            let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax", session.sid());
            if let Ok(value) = HeaderValue::from_str(&cookie) {
                response.headers_mut().insert(header::SET_COOKIE, value);
            }
        }
        tokio::spawn(Driver::new(session, receiver, None, self.0.sessions.clone()).run());
        response
    }
}
