//! Accepting connections and serving HTTP/1.1 on them.
//!
//! Invariant: running out of file descriptors stops accepting for a moment, and nothing else.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

/// Settings of a [`Listener`].
#[derive(Debug, Clone, Copy)]
pub struct ListenerOptions {
    /// How long a peer may take to send a request's head, in milliseconds. Default 10,000.
    pub header_timeout_ms: u32,
    /// Largest head of a request, in bytes. Default 16 KiB.
    pub max_header_bytes: usize,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            header_timeout_ms: 10_000,
            max_header_bytes: 16 * 1024,
        }
    }
}

/// Serves HTTP on a TCP listener.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    options: ListenerOptions,
}

impl Listener {
    /// Serves what `listener` accepts.
    pub fn new(listener: TcpListener, options: ListenerOptions) -> Self {
        Self { listener, options }
    }

    /// Accepts until `shutdown` is done; connections that were accepted go on in tasks of their own.
    pub async fn serve<S, F, B>(self, service: S, shutdown: impl Future<Output = ()>)
    where
        S: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    tokio::spawn(serve_connection(stream, peer, service.clone(), self.options));
                }
                Err(error) => {
                    // Out of descriptors or memory: connections that end make room. Other errors concern one peer only.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn serve_connection<S, F, B>(stream: TcpStream, peer: SocketAddr, service: S, options: ListenerOptions)
where
    S: Fn(Request<Incoming>, SocketAddr) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(options.header_timeout_ms.into()))
        .max_buf_size(options.max_header_bytes.max(8 * 1024))
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let response = service(request, peer);
                async move { Ok::<_, Infallible>(response.await) }
            }),
        )
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}
