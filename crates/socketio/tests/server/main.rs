//! The server in process, over loopback TCP, with a small test client that can also misbehave.
//!
//! No test checks how long something takes: waits are limited so that a failing test ends, and short settings
//! stand in for long ones. The tests of mynah-forward run the same tests with other functions in this file.

#![allow(clippy::unwrap_used, reason = "a test that unwraps a failure has failed")]

mod acks;
mod app;
mod bad_input;
mod bounds;
mod churn;
mod client;
mod deadlines;
mod ends;
mod framing;
mod half_open;
mod kept;
mod leaving;
mod old_clients;
mod order;
mod origins;
mod polling;
mod proxied;
mod refusals;
mod slow_reader;
mod tls;
mod upgrade;

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::time::Duration;

use mynah_front::{Listener, ListenerOptions};
use mynah_socketio::{Server, SidTag};

/// What the ids of all sessions begin with.
fn sid_tag() -> Option<SidTag> {
    None
}

/// Serves on a free port until the test ends.
async fn serve(server: Server, options: ListenerOptions) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move |request, peer| {
        let server = server.clone();
        async move { server.handle(request, peer).await }
    };
    tokio::spawn(Listener::new(listener, options).serve(serve, pending()));
    address
}

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
