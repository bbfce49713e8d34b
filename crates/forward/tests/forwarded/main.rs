//! Several nodes in process, over loopback TCP.
//!
//! All tests of the Socket.IO server run here once more. Each request for a session reaches a node that does
//! not have it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps a failure has failed")]

macro_rules! of_the_server {
    ($($name:ident in $file:literal),* $(,)?) => {
        $(#[allow(dead_code, reason = "some helpers are for tests that do not run here")]
        #[path = $file]
        mod $name;)*
    };
}

of_the_server! {
    acks in "../../../socketio/tests/server/acks.rs",
    app in "../../../socketio/tests/server/app.rs",
    bad_input in "../../../socketio/tests/server/bad_input.rs",
    bounds in "../../../socketio/tests/server/bounds.rs",
    churn in "../../../socketio/tests/server/churn.rs",
    client in "../../../socketio/tests/server/client/mod.rs",
    deadlines in "../../../socketio/tests/server/deadlines.rs",
    ends in "../../../socketio/tests/server/ends.rs",
    framing in "../../../socketio/tests/server/framing.rs",
    half_open in "../../../socketio/tests/server/half_open.rs",
    kept in "../../../socketio/tests/server/kept.rs",
    leaving in "../../../socketio/tests/server/leaving.rs",
    old_clients in "../../../socketio/tests/server/old_clients.rs",
    order in "../../../socketio/tests/server/order.rs",
    origins in "../../../socketio/tests/server/origins.rs",
    polling in "../../../socketio/tests/server/polling.rs",
    proxied in "../../../socketio/tests/server/proxied.rs",
    refusals in "../../../socketio/tests/server/refusals.rs",
    slow_reader in "../../../socketio/tests/server/slow_reader.rs",
    tls in "../../../socketio/tests/server/tls.rs",
    upgrade in "../../../socketio/tests/server/upgrade.rs",
}
mod nodes;

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::Request;
use mynah_forward::{Answer, Forward, ForwardOptions, SidTag};
use mynah_front::{Admission, Listener, ListenerOptions, RequestBody};
use mynah_socketio::Server;
use tokio::net::TcpListener;

/// Waits for something that must happen. The limit only ends a failing test.
#[track_caller]
fn within<T>(what: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        tokio::time::timeout(Duration::from_secs(30), what)
            .await
            .unwrap_or_else(|_| panic!("nothing happened within 30 seconds, at {caller}"))
    }
}

/// What the ids of all sessions begin with.
fn sid_tag() -> Option<SidTag> {
    Some(SidTag::new([7; 6]))
}

/// Serves on two free ports until the test ends, as two nodes that share the server. The node at the returned
/// address forwards every request for a session to the other one.
async fn serve(server: Server, options: ListenerOptions) -> SocketAddr {
    let inner = ListenerOptions {
        tls: None,
        proxy_protocol: false,
        // Connections between the nodes end soon, so that a test can wait until nothing is left.
        header_timeout_ms: 2_000,
        idle_timeout_ms: 2_000,
        ..options.clone()
    };
    let owner = forward(&server, &options.admission, KEY);
    let owner = listen(server.clone(), owner, inner).await;
    let entry = forward(&server, &options.admission, KEY);
    entry.set_nodes(sid_tag().map(|tag| (tag, owner.to_string())));
    listen(server, entry, options).await
}

/// The key of the cluster.
const KEY: [u8; 32] = [9; 32];

fn forward(server: &Server, admission: &Arc<Admission>, key: [u8; 32]) -> Forward {
    forward_with(server, admission, key, |_| {})
}

fn forward_with(
    server: &Server,
    admission: &Arc<Admission>,
    key: [u8; 32],
    change: impl FnOnce(&mut ForwardOptions),
) -> Forward {
    let mut options = ForwardOptions {
        key,
        proxy_protocol: false,
        identity: None,
        idle: Duration::from_secs(1),
        stall: Duration::from_secs(45),
        admission: admission.clone(),
    };
    change(&mut options);
    Forward::new((**server).clone(), options)
}

/// Serves a node on a free port.
async fn listen(server: Server, forward: Forward, options: ListenerOptions) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move |request, peer| answer(server.clone(), forward.clone(), request, peer);
    tokio::spawn(Listener::new(listener, options).serve(serve, pending()));
    address
}

async fn answer(server: Server, forward: Forward, request: Request<RequestBody>, peer: SocketAddr) -> Answer {
    if forward.is_internal(&request) {
        return forward.answer_internal(request, peer).await.map(Either::Left);
    }
    match forward.node_of(&request) {
        Some(node) => forward.send(request, peer, node).await,
        None => server.handle(request, peer).await.map(Either::Left),
    }
}
