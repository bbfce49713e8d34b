//! Forwards the requests of clients.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use mynah_front::{Admission, Behind, Body, Refusal, RequestBody};
use mynah_socketio::{EngineServer, SidTag};
use mynah_wire::engine;

use crate::dial::{Dial, Failed, OutgoingBody};
use crate::drain::Drain;
use crate::identity::Identity;
use crate::node::Node;
use crate::nodes::Nodes;
use crate::splice::Splice;
use crate::token::{CLIENT, END_POLL, RECONNECT, SESSION, Token};

/// How often the other node is asked to end a GET, until it has. The first question may overtake the GET.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(100);

/// The headers of a client's request that concern the session. All others stay here.
const FORWARDED: [HeaderName; 6] = [
    header::ACCEPT_ENCODING,
    header::CONTENT_TYPE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
    header::USER_AGENT,
];

/// The response to a forwarded request: that of the other node, or one of this node's own.
pub type Answer = Response<Either<Body, Incoming>>;

/// The settings of a [`Forward`].
#[derive(Debug, Clone)]
pub struct ForwardOptions {
    /// A key that only the nodes of the cluster have, made for this use.
    pub key: [u8; 32],
    /// Whether each connection to another node must begin with the header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// What other nodes are recognised by, if they have TLS; `None` if they have not.
    pub identity: Option<Identity>,
    /// How long a connection to another node is kept without a request. It must be shorter than the time for
    /// which that node keeps one.
    pub idle: Duration,
    /// How long a peer of a WebSocket may accept no bytes while some wait for it. It should be no shorter
    /// than the time after which the other node misses a heartbeat.
    pub stall: Duration,
    /// Counts the WebSockets that pass through this node.
    pub admission: Arc<Admission>,
}

/// Forwards requests to other nodes, and answers those that other nodes forward. Clones are cheap and share
/// it.
#[derive(Clone)]
pub struct Forward(Arc<Inner>);

struct Inner {
    server: EngineServer,
    token: Token,
    nodes: Nodes,
    dial: Dial,
    drain: Drain,
    stall: Duration,
    admission: Arc<Admission>,
}

impl Forward {
    /// Forwards for `server`. No other node is known yet.
    pub fn new(server: EngineServer, options: ForwardOptions) -> Self {
        let token = Token::new(&options.key);
        Self(Arc::new(Inner {
            server,
            nodes: Nodes::default(),
            dial: Dial::new(
                token.clone(),
                options.proxy_protocol,
                options.identity.as_ref(),
                options.idle,
            ),
            token,
            drain: Drain::default(),
            stall: options.stall,
            admission: options.admission,
        }))
    }

    /// Sets the other nodes that have sessions, with the host and port at which each is reached. Requests to
    /// nodes that are no longer among them are ended, and so are their WebSockets.
    pub fn set_nodes(&self, nodes: impl IntoIterator<Item = (SidTag, impl AsRef<str>)>) {
        self.0.nodes.set(nodes);
    }

    pub(crate) fn server(&self) -> &EngineServer {
        &self.0.server
    }

    pub(crate) fn has_token(&self, headers: &HeaderMap) -> bool {
        self.0.token.is_in(headers)
    }

    /// Ends what passes through this node, in such a way that no session of another node is lost: clients on
    /// WebSockets are made to reconnect, spread over the time `over`. Returns once everything has ended: wrap
    /// it in a timeout. Requests are forwarded nevertheless.
    pub async fn drain(&self, over: Duration) {
        self.0.drain.run(over).await;
    }

    /// The node that has the session of a request; `None` if that is this node, or no node that is known, or
    /// if the request opens a session.
    pub fn node_of<B>(&self, request: &Request<B>) -> Option<Arc<Node>> {
        self.0.nodes.get(SidTag::of_query(request.uri().query()?)?)
    }

    /// Answers a request of a client by the answer of `node`.
    pub async fn send(&self, request: Request<RequestBody>, client: SocketAddr, node: Arc<Node>) -> Answer {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let server = &self.0.server;
        let mut response = match server.answer_page(&request, client) {
            Some(response) => response.map(Either::Left),
            None => {
                let upgrades = EngineServer::is_upgrade(&request);
                let answer = self.forward(request, client, &node).await;
                answer.unwrap_or_else(|error| {
                    tracing::debug!(%error, node = node.address(), "a request was not forwarded");
                    EngineServer::session_unknown(upgrades).map(Either::Left)
                })
            }
        };
        server.allow(origin, response.headers_mut());
        response
    }

    async fn forward(
        &self,
        mut request: Request<RequestBody>,
        client: SocketAddr,
        node: &Arc<Node>,
    ) -> Result<Answer, Failed> {
        let upgrades = EngineServer::is_upgrade(&request);
        let upgraded = upgrades.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let mut outgoing = self.outgoing(&parts, client, node);
        if upgrades {
            // The node checks the whole handshake, so it gets what the client has sent.
            copy(&parts.headers, &header::UPGRADE, outgoing.headers_mut());
            copy(&parts.headers, &header::CONNECTION, outgoing.headers_mut());
            *outgoing.version_mut() = parts.version;
        }
        let Some(upgraded) = upgraded else {
            let answer = if parts.method == Method::GET {
                self.poll(outgoing, body.behind(), node).await?
            } else {
                *outgoing.body_mut() = Either::Left(body);
                node.send(&self.0.dial, outgoing).await?
            };
            return Ok(returned(answer));
        };
        drop(body);
        let mut answer = node.send(&self.0.dial, outgoing).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(returned(answer));
        }
        let Some(counted) = self.0.admission.admit_connection_if_room(client.ip()) else {
            self.0.admission.refuse(Refusal::Address, client.ip());
            return Ok(EngineServer::too_many(Refusal::Address).map(Either::Left));
        };
        let splice = Splice {
            client: upgraded,
            node: hyper::upgrade::on(&mut answer),
            stall: self.0.stall,
        };
        let query = parts.uri.query().unwrap_or_default();
        let sid = engine::parse_query(query).sid.unwrap_or_default();
        let (forward, node) = (self.clone(), node.clone());
        tokio::spawn(async move {
            let _counted = counted;
            // It is rarely needed, so no open WebSocket has room for it.
            let close = async { Box::pin(forward.tell(RECONNECT, &sid, &node)).await };
            forward.0.drain.watch(&node, splice.run(), close).await;
        });
        Ok(returned(answer).map(|_| Either::Left(Body::default())))
    }

    /// Forwards a GET. `behind`: see [`RequestBody::behind`]. The node learns of what follows on the client's
    /// connection: if that has ended, because its own connection ends, and if there is another request, by a
    /// request of this node.
    async fn poll(
        &self,
        outgoing: Request<OutgoingBody>,
        behind: impl Future<Output = Behind>,
        node: &Arc<Node>,
    ) -> Result<Response<Incoming>, Failed> {
        let query = engine::parse_query(outgoing.uri().query().unwrap_or_default());
        let _open = self.0.drain.open();
        let mut answer = pin!(node.send(&self.0.dial, outgoing));
        let behind = tokio::select! {
            biased;
            answer = &mut answer => return answer,
            behind = behind => behind,
            _ = self.0.drain.begun() => Behind::Bytes,
        };
        if behind == Behind::End {
            return Err(Failed::Abandoned);
        }
        let ask = async {
            loop {
                self.tell(END_POLL, query.sid.as_deref().unwrap_or_default(), node)
                    .await;
                tokio::time::sleep(BETWEEN_QUESTIONS).await;
            }
        };
        tokio::select! {
            answer = &mut answer => answer,
            () = ask => Err(Failed::Abandoned),
        }
    }

    /// Sends a request about a session to its node, which may not get it.
    async fn tell(&self, path: &str, sid: &str, node: &Node) {
        let Ok(uri) = format!("{path}?{sid}").parse() else {
            return;
        };
        let mut request = Request::new(Either::Right(Empty::new()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        self.0.dial.address_to(node.authority(), &mut request);
        if let Err(error) = node.send(&self.0.dial, request).await {
            tracing::debug!(%error, node = node.address(), "a node was not told about a session");
        }
    }

    /// The request that forwards one with these parts, without its body.
    fn outgoing(&self, parts: &Parts, client: SocketAddr, node: &Node) -> Request<OutgoingBody> {
        let mut outgoing = Request::new(Either::Right(Empty::new()));
        *outgoing.method_mut() = parts.method.clone();
        *outgoing.uri_mut() = parts.uri.query().and_then(session).unwrap_or_default();
        let headers = outgoing.headers_mut();
        for name in FORWARDED {
            copy(&parts.headers, &name, headers);
        }
        if let Ok(client) = HeaderValue::from_str(&client.to_string()) {
            headers.insert(CLIENT, client);
        }
        self.0.dial.address_to(node.authority(), &mut outgoing);
        outgoing
    }
}

/// The target of a forwarded request with this query.
fn session(query: &str) -> Option<Uri> {
    format!("{SESSION}?{query}").parse().ok()
}

/// Copies all values of a header.
fn copy(from: &HeaderMap, name: &HeaderName, to: &mut HeaderMap) {
    for value in from.get_all(name) {
        to.append(name, value.clone());
    }
}

/// The response to the client for that of a node. What concerns only the connection to the node is left out.
fn returned(mut answer: Response<Incoming>) -> Answer {
    let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.remove(header::TRANSFER_ENCODING);
    let is_last = headers
        .get(header::CONNECTION)
        .is_some_and(|value| value == "close");
    if !switches && !is_last {
        headers.remove(header::CONNECTION);
    }
    answer.map(Either::Right)
}
