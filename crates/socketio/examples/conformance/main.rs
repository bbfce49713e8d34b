//! A server for any Socket.IO test suite: `cargo run --release --example conformance -- [--port 3300]`.
//!
//! `/engine.io/` is a bare Engine.IO endpoint that echoes each message. `/socket.io/` has the namespaces `/`
//! and `/custom` with the events in `events.rs`, and `/denied`, which refuses everyone. The timeouts are
//! short so that test suites are quick.

mod events;

use std::sync::Arc;

use hyper::{Response, StatusCode};
use mynah_front::{Body, Cors, Listener, ListenerOptions};
use mynah_socketio::{
    Acceptor, CloseReason, Config, EngineServer, Flow, Handshake, MessageBody, Receiver, Server, Session,
};

/// Echoes each Engine.IO message.
struct Echo;

impl Acceptor for Echo {
    fn open(&self, session: &Session, _: Handshake) -> Box<dyn Receiver> {
        Box::new(EchoSession(session.clone()))
    }
}

struct EchoSession(Session);

impl Receiver for EchoSession {
    fn message(&mut self, body: MessageBody<'_>) -> Flow {
        match &body {
            MessageBody::Text(text) => self.0.send_text(text),
            MessageBody::Binary(bytes) => self.0.send_binary(bytes),
        };
        Flow::Continue
    }

    fn closed(&mut self, _: CloseReason) {}
}

/// The number after `--name` on the command line.
fn option(name: &str, default: u32) -> Result<u32, String> {
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == name {
            let value = args.next().ok_or(format!("{name} needs a number"))?;
            return value
                .parse()
                .map_err(|_| format!("{name} needs a number, not {value}"));
        }
    }
    Ok(default)
}

/// One thread, as in the test suites' own servers: their tests expect that of two requests on two connections
/// the one that was sent first is handled first.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config {
        ping_interval_ms: option("--ping-interval", 300)?,
        ping_timeout_ms: option("--ping-timeout", 200)?,
        max_payload_bytes: 1_000_000,
        connect_timeout_ms: 1_000,
        cors: Cors::Any,
        ..Config::default()
    };
    let port = u16::try_from(option("--port", 3300)?)?;
    let engine = EngineServer::new(
        Config {
            path: "/engine.io/".into(),
            ..config.clone()
        },
        Box::new(Echo),
    );
    let socketio = Server::new(config, Arc::new(events::Conformance));

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let serve = move |request: hyper::Request<mynah_front::RequestBody>, peer| {
        let (engine, socketio) = (engine.clone(), socketio.clone());
        async move {
            match request.uri().path() {
                path if engine.serves(path) => engine.handle(request, peer).await,
                path if socketio.serves(path) => socketio.handle(request, peer).await,
                _ => {
                    let mut response = Response::new(Body::default());
                    *response.status_mut() = StatusCode::NOT_FOUND;
                    response
                }
            }
        }
    };
    Listener::new(listener, ListenerOptions::default())
        .serve(serve, std::future::pending())
        .await;
    Ok(())
}
