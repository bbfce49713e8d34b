//! What is particular to several nodes: any of them may get a request, some end, and some are not what they
//! seem to be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Request;
use mynah_forward::{Forward, Identity, SidTag};
use mynah_front::{Admission, Bounds, Cors, ListenerOptions, Proxies};
use mynah_socketio::{
    BoxFuture, Config, ConnectRefused, DisconnectReason, Event, Handler, Handshake, Namespaces, Protocol,
    Server, Socket, Transport,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::client::{ALL, Client, Got, Polling, Reply, Ws, packets, request, request_with};
use crate::{KEY, forward, forward_with, listen, within};

/// One node.
struct Node {
    server: Server,
    forward: Forward,
    tag: SidTag,
    address: SocketAddr,
    /// Why sessions have ended.
    ends: UnboundedReceiver<&'static str>,
}

impl Node {
    async fn start(n: u8) -> Self {
        Self::start_with(n, KEY, Arc::default()).await
    }

    async fn start_with(n: u8, key: [u8; 32], admission: Arc<Admission>) -> Self {
        let options = ListenerOptions {
            admission: admission.clone(),
            ..ListenerOptions::default()
        };
        Self::start_as(n, options, |server| forward(server, &admission, key)).await
    }

    async fn start_as(n: u8, options: ListenerOptions, forward: impl FnOnce(&Server) -> Forward) -> Self {
        let (sender, ends) = unbounded_channel();
        let tag = SidTag::new([n; 6]);
        let admission = options.admission.clone();
        let config = Config {
            sid_tag: Some(tag),
            admission,
            cors: Cors::Reflect,
            ..Config::default()
        };
        let server = Server::new(config, Arc::new(Echo(sender)));
        let forward = forward(&server);
        let address = listen(server.clone(), forward.clone(), options).await;
        Self {
            server,
            forward,
            tag,
            address,
            ends,
        }
    }

    /// Makes this the only other node that `self` knows.
    fn knows(&self, other: &Self) {
        self.forward.set_nodes([(other.tag, other.address.to_string())]);
    }

    async fn end(&mut self) -> &'static str {
        within(self.ends.recv()).await.unwrap()
    }
}

/// Emits what it receives.
struct Echo(UnboundedSender<&'static str>);

impl Namespaces for Echo {
    fn connect(
        &self,
        socket: &Socket,
        _: &Handshake,
        _: Option<&RawValue>,
    ) -> Result<Box<dyn Handler>, ConnectRefused> {
        Ok(Box::new(EchoClient(socket.clone(), self.0.clone())))
    }
}

struct EchoClient(Socket, UnboundedSender<&'static str>);

impl Handler for EchoClient {
    fn event(&mut self, event: Event<'_>) -> Option<BoxFuture> {
        self.0.emit_binary(event.name, event.args, event.attachments);
        None
    }

    fn disconnected(&mut self, reason: DisconnectReason) {
        // The test may have ended.
        let _ = self.1.send(reason.as_str());
    }
}

/// Three nodes that know each other.
async fn three() -> [Node; 3] {
    let nodes = [Node::start(1).await, Node::start(2).await, Node::start(3).await];
    for node in &nodes {
        let others = nodes.iter().filter(|other| other.tag != node.tag);
        let others: Vec<_> = others
            .map(|other| (other.tag, other.address.to_string()))
            .collect();
        node.forward
            .set_nodes(others.iter().map(|(tag, address)| (*tag, &**address)));
    }
    nodes
}

/// A load balancer that passes each connection to the next node, and returns how many it passed.
async fn balance(nodes: &[Node]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let passed = Arc::new(AtomicUsize::new(0));
    let (nodes, count): (Vec<_>, _) = (nodes.iter().map(|node| node.address).collect(), passed.clone());
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let node = nodes[count.fetch_add(1, Ordering::SeqCst) % nodes.len()];
            tokio::spawn(async move {
                let mut node = TcpStream::connect(node).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut node).await;
            });
        }
    });
    (address, passed)
}

/// Sends events of several sizes and reads them back.
async fn echo(client: &mut Client, protocol: Protocol) {
    for text in [
        "x".to_owned(),
        "\u{4f60}\u{1f600}\u{2028}".repeat(50),
        "long ".repeat(60_000),
    ] {
        let event = format!("2[\"echo\",{}]", serde_json::to_string(&text).unwrap());
        client.send(&event).await;
        let came: String = client.receive().await;
        let came: serde_json::Value = serde_json::from_str(&came[1..]).unwrap();
        assert_eq!(came[1], *text, "{protocol:?}");
    }
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    client.send(r#"51-["bytes",{"_placeholder":true,"num":0}]"#).await;
    client.attach(&bytes).await;
    assert!(client.receive().await.starts_with(r#"51-["bytes""#));
    assert!(client.attachment().await == bytes, "{protocol:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_answers_any_request() {
    let nodes = three().await;
    let (address, passed) = balance(&nodes).await;
    let mut clients = Vec::new();
    for (protocol, transport) in ALL {
        for _ in 0..3 {
            let mut client = Client::connect_to(address, protocol, transport, "").await;
            echo(&mut client, protocol).await;
            if transport == Transport::Polling {
                client.upgrade(async |_| {}).await;
                echo(&mut client, protocol).await;
            }
            clients.push(client);
        }
    }
    assert!(passed.load(Ordering::SeqCst) > 50);
    let opened: Vec<_> = nodes.iter().map(|node| node.server.sessions()).collect();
    assert!(opened.iter().all(|count| *count > 0), "{opened:?}");
}

#[tokio::test]
async fn a_script_polls_through_any_node() {
    let nodes = three().await;
    let (address, _) = balance(&nodes).await;
    let open = request(address, "GET", "/socket.io/?EIO=3&transport=polling&j=1").await;
    let text = open.text();
    let sid = text
        .split(r#"\"sid\":\""#)
        .nth(1)
        .unwrap()
        .split('\\')
        .next()
        .unwrap();
    let target = format!("/socket.io/?EIO=3&transport=polling&j=1&sid={sid}");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let mut came = String::new();
    for round in 0..4 {
        let body = format!("d=17%3A42%5B%22echo%22%2C1{round}0000%5D");
        let reply = request_with(address, "POST", &target, &form, body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{:?}", reply.text());
        while !came.contains(&format!("1{round}0000")) {
            let reply = within(request(address, "GET", &target)).await;
            assert_eq!(reply.status, 200);
            came += reply.text();
        }
    }
    assert!(came.starts_with("___eio[1](\""), "{came}");
}

#[tokio::test]
async fn responses_are_compressed_and_carry_cors_headers_once() {
    let [one, other] = [Node::start(1).await, Node::start(2).await];
    one.knows(&other);
    let polling = Polling::open(other.address, Protocol::V3, "").await;
    let through = Polling {
        address: one.address,
        protocol: Protocol::V3,
        sid: polling.sid.clone(),
    };
    let body = through.body(&[&format!("42[\"echo\",\"{}\"]", "x".repeat(5_000))]);
    assert_eq!(within(through.post(&body)).await.status, 200);
    let headers = [("Accept-Encoding", "gzip"), ("Origin", "https://a.example")];
    let target = through.target("polling");
    let mut encodings = Vec::new();
    while encodings.is_empty() {
        let reply = within(request_with(one.address, "GET", &target, &headers, b"")).await;
        assert_eq!(reply.status, 200);
        let origin = reply.header("access-control-allow-origin");
        assert_eq!(origin.as_deref(), Some("https://a.example"), "once");
        encodings.extend(reply.header("content-encoding"));
    }
    assert_eq!(encodings, ["gzip"]);
}

/// The sessions that a node does not have, and how each must be answered.
async fn is_unknown(node: &Node, sid: &str) {
    let polling = Polling {
        address: node.address,
        protocol: Protocol::V4,
        sid: sid.to_owned(),
    };
    for reply in [within(polling.get()).await, within(polling.post("4x")).await] {
        assert_eq!(reply.status, 400);
        assert_eq!(reply.text(), r#"{"code":1,"message":"Session ID unknown"}"#);
    }
    let refused = Ws::upgrade(node.address, &polling.target("websocket"), Protocol::V4).await;
    let Err(Reply { status, body, .. }) = refused else {
        panic!("a WebSocket for a session that does not exist");
    };
    assert_eq!((status, &*body), (400, &b"Session ID unknown"[..]));
}

const SID_OF_2: &str = "AgICAgIC0123456789ab";

#[tokio::test]
async fn a_session_of_a_node_that_cannot_be_reached_is_unknown() {
    let node = Node::start(1).await;
    let tag = SidTag::of_query(&format!("sid={SID_OF_2}")).unwrap();
    assert_eq!(tag, SidTag::new([2; 6]));
    is_unknown(&node, SID_OF_2).await;
    is_unknown(&node, "made-up").await;
    // A port at which nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    node.forward.set_nodes([(tag, address)]);
    is_unknown(&node, SID_OF_2).await;
    // A node that was stopped: the system accepts, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    node.forward.set_nodes([(tag, address)]);
    is_unknown(&node, SID_OF_2).await;
    // A server that is not a node, and a node of another cluster.
    let stranger = Node::start_with(2, [1; 32], Arc::default()).await;
    node.knows(&stranger);
    is_unknown(&node, SID_OF_2).await;
    // A node that does not have the session.
    let other = Node::start(2).await;
    node.knows(&other);
    is_unknown(&node, SID_OF_2).await;
}

#[tokio::test]
async fn a_forwarded_request_is_not_forwarded_again() {
    let [one, other] = [Node::start(1).await, Node::start(2).await];
    for (node, next) in [(&one, &other), (&other, &one)] {
        let tag = SidTag::new([3; 6]);
        node.forward.set_nodes([(tag, next.address.to_string())]);
    }
    is_unknown(&one, "AwMDAwMD0123456789ab").await;
}

#[tokio::test]
async fn only_requests_with_the_token_are_those_of_nodes() {
    let node = Node::start(1).await;
    let request = |path: &str, token: &str| {
        let request = Request::builder().uri(path).header("x-mynah-token", token);
        request.body(()).unwrap()
    };
    for token in ["", "0", &"0".repeat(64)] {
        assert!(
            !node.forward.is_internal(&request("/internal/hello", token)),
            "{token}"
        );
    }
    // printf 'forwarded request' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0909...
    let token = TOKEN;
    assert!(node.forward.is_internal(&request("/internal/hello", token)));
    assert!(node.forward.is_internal(&request("/internal/anything", token)));
    assert!(!node.forward.is_internal(&request("/socket.io/", token)));
    let headers = [("X-Mynah-Token", token)];
    let reply = request_with(node.address, "GET", "/internal/anything", &headers, b"").await;
    assert_eq!(reply.status, 404);
}

const TOKEN: &str = "bd53fd994198e9966007b0cf99dbb5fd040da0488b70e4a96319af8ed7b56508";

/// A session on the second node, reached through the first.
async fn through(one: &Node, other: &Node) -> Polling {
    let own = Polling::open(other.address, Protocol::V4, "").await;
    Polling {
        address: one.address,
        ..own
    }
}

#[tokio::test]
async fn what_waits_for_a_node_ends_with_it() {
    let [one, other] = [Node::start(1).await, Node::start(2).await];
    one.knows(&other);
    let mut polling = through(&one, &other).await;
    polling.send(&["40"]).await;
    assert_eq!(polling.poll().await.unwrap().len(), 1);
    let waiting = tokio::spawn(polling.get());
    let second = through(&one, &other).await;
    let mut ws = Ws::join(&second).await;
    ws.text("2probe").await;
    assert_eq!(within(ws.next()).await, Got::Text("3probe".into()));
    one.forward.set_nodes([(one.tag, one.address.to_string())]);
    let reply = within(waiting).await.unwrap();
    assert_eq!(reply.text(), r#"{"code":1,"message":"Session ID unknown"}"#);
    assert_eq!(within(ws.next()).await, Got::End);
}

#[tokio::test]
async fn a_node_that_stops_loses_no_session_of_another() {
    let (one, mut other) = (Node::start(1).await, Node::start(2).await);
    one.knows(&other);
    let mut polling = through(&one, &other).await;
    polling.send(&["40"]).await;
    assert_eq!(polling.poll().await.unwrap().len(), 1);
    let waiting = tokio::spawn(polling.get());
    let mut second = Client::connect_to(other.address, Protocol::V4, Transport::Polling, "").await;
    second.polling().address = one.address;
    second.upgrade(async |_| {}).await;
    // The GET has reached the other node before this one stops.
    tokio::time::sleep(Duration::from_millis(50)).await;
    within(one.forward.drain(Duration::from_millis(100))).await;
    let reply = within(waiting).await.unwrap();
    assert_eq!((reply.status, reply.text()), (200, "6"));
    second.is_closed().await;
    assert_eq!(other.end().await, "server shutting down");
    // The session on polling continues through the other node.
    polling.address = other.address;
    polling.send(&["42[\"echo\",1]"]).await;
    assert_eq!(within(polling.get()).await.text(), "42[\"echo\",1]");
}

#[tokio::test]
async fn connections_of_nodes_do_not_count_for_their_address() {
    let bounds = Bounds {
        sessions_per_address: 40,
        ..Bounds::default()
    };
    let one = Node::start(1).await;
    let other = Node::start_with(2, KEY, Arc::new(Admission::new(bounds))).await;
    one.knows(&other);
    // One address may have 2 * 40 + 64 connections.
    let mut waiting = Vec::new();
    for _ in 0..40 {
        let mut polling = through(&one, &other).await;
        polling.send(&["40"]).await;
        assert_eq!(packets(Protocol::V4, &within(polling.get()).await).len(), 1);
        waiting.push(tokio::spawn(polling.get()));
    }
    let mut direct = Vec::new();
    for _ in 0..140 {
        let mut stream = TcpStream::connect(other.address).await.unwrap();
        stream
            .write_all(b"GET /socket.io/ HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 12];
        within(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400");
        direct.push(stream);
    }
    assert!(waiting.iter().all(|poll| !poll.is_finished()));
}

/// Shows the certificate for nodes, and no other.
#[derive(Debug)]
struct ForNodes(Identity);

impl ResolvesServerCert for ForNodes {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.certificate(hello.server_name())
    }
}

/// A node with TLS, which begins its connections with the PROXY header and expects it.
async fn secured(n: u8, key: [u8; 32]) -> Node {
    let identity = Identity::new(&key).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ForNodes(identity.clone())));
    let options = ListenerOptions {
        tls: Some(Arc::new(tls)),
        proxies: Proxies::parse(&["127.0.0.1"]).unwrap(),
        proxy_protocol: true,
        ..ListenerOptions::default()
    };
    Node::start_as(n, options, |server| {
        forward_with(server, &Arc::default(), KEY, |options| {
            options.identity = Some(identity);
            options.proxy_protocol = true;
        })
    })
    .await
}

#[tokio::test]
async fn nodes_with_tls_recognise_each_other_by_a_key_of_the_cluster() {
    let [one, other, stranger] = [
        secured(1, KEY).await,
        secured(2, KEY).await,
        secured(3, [1; 32]).await,
    ];
    // Clients reach the same server without TLS.
    let inside = listen(
        one.server.clone(),
        one.forward.clone(),
        ListenerOptions::default(),
    )
    .await;
    let open = listen(
        other.server.clone(),
        other.forward.clone(),
        ListenerOptions::default(),
    )
    .await;
    let others = [&other, &stranger].map(|node| (node.tag, node.address.to_string()));
    one.forward.set_nodes(others);
    let mut client = Client::connect_to(open, Protocol::V4, Transport::Polling, "").await;
    client.polling().address = inside;
    echo(&mut client, Protocol::V4).await;
    client.upgrade(async |_| {}).await;
    echo(&mut client, Protocol::V4).await;
    let plain = Node {
        address: inside,
        ..one
    };
    is_unknown(&plain, "AwMDAwMD0123456789ab").await;
    is_unknown(&plain, SID_OF_2).await;
}
