//! Accepting connections and serving HTTP/1.1 on them.
//!
//! Invariants: running out of file descriptors stops accepting for a moment, and nothing else; a connection that is not served ends.

mod body;
mod connection;
mod exchange;
pub(crate) mod first;
pub(crate) mod target;
mod timed;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, Response};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::front::admission::Admission;
use crate::front::proxies::Proxies;
pub use exchange::RequestBody;
pub(crate) use exchange::{AwaitBehind, Behind};
pub(crate) use timed::Timed;

/// While there is no room it is looked for this often.
const PAUSE: Duration = Duration::from_millis(50);
/// It is logged no more often than this that there is none.
const BETWEEN_LOGS: Duration = Duration::from_secs(60);

/// Settings of a [`Listener`].
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// How long a peer may take to send a request's head, in milliseconds. Default 10,000.
    pub header_timeout_ms: u32,
    /// How long a peer may take for the header of the PROXY protocol, and how long for the TLS handshake, in milliseconds. Default 10,000.
    pub handshake_timeout_ms: u32,
    /// How long a connection without a further request is kept open, in milliseconds. Default 90,000: longer
    /// than proxies keep one.
    pub idle_timeout_ms: u32,
    /// How long a peer may take nothing of an answer, in milliseconds. Default 30,000.
    pub write_timeout_ms: u32,
    /// Largest head of a request, in bytes. Default 16 KiB.
    pub max_header_bytes: usize,
    /// Speaks TLS. Offer `http/1.1` alone by ALPN. Default none.
    pub tls: Option<Arc<ServerConfig>>,
    /// Proxies in front: their connections are not counted as those of one address. Default none.
    pub proxies: Proxies,
    /// Every connection comes from one of `proxies` and begins with the header of the PROXY protocol. Default false.
    pub proxy_protocol: bool,
    /// Connections count against the bounds of `admission`. Default true.
    pub bounded: bool,
    /// Who may connect how often, and who was refused. Default: no bounds.
    pub admission: Arc<Admission>,
    /// Accepting pauses as long as the process has so many file descriptors, so that the rest of it can still open files. Default none:
    /// it pauses when there are no more.
    pub max_descriptors: Option<u32>,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            header_timeout_ms: 10_000,
            handshake_timeout_ms: 10_000,
            idle_timeout_ms: 90_000,
            write_timeout_ms: 30_000,
            max_header_bytes: 16 * 1024,
            tls: None,
            proxies: Proxies::default(),
            proxy_protocol: false,
            bounded: true,
            admission: Arc::default(),
            max_descriptors: None,
        }
    }
}

/// Serves HTTP on a TCP listener.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    options: Arc<ListenerOptions>,
    /// When it was last logged that accepting pauses.
    logged: Option<Instant>,
}

impl Listener {
    /// Serves what `listener` accepts.
    pub fn new(listener: TcpListener, options: ListenerOptions) -> Self {
        Self {
            listener,
            options: Arc::new(options),
            logged: None,
        }
    }

    /// Accepts until `shutdown` is done; connections that were accepted go on in tasks of their own.
    pub async fn serve<S, F, B>(mut self, service: S, shutdown: impl Future<Output = ()>)
    where
        S: Fn(Request<RequestBody>, SocketAddr) -> F + Clone + Send + 'static,
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
            let full = match accepted {
                Ok((stream, peer)) => {
                    let full = self.is_last(&stream);
                    connection::take_in(stream, peer, &service, &self.options);
                    full.then(|| "nearly all file descriptors are in use".to_owned())
                }
                Err(error) => concerns_all(&error).then(|| error.to_string()),
            };
            if let Some(why) = full {
                tokio::select! {
                    biased;
                    () = &mut shutdown => return,
                    () = self.room(&why) => {}
                }
            }
        }
    }

    /// Whether there is no room for a further one. The system gives the lowest number that is free, so that numbers tell how many are in use.
    fn is_last(&self, stream: &TcpStream) -> bool {
        self.options
            .max_descriptors
            .is_some_and(|most| stream.as_raw_fd() as u32 >= most)
    }

    /// Waits until there is room.
    async fn room(&mut self, why: &str) {
        if self.logged.is_none_or(|at| at.elapsed() >= BETWEEN_LOGS) {
            self.logged = Some(Instant::now());
            tracing::warn!("accepting pauses until connections have ended: {why}");
        }
        let most = self.options.max_descriptors.unwrap_or(u32::MAX);
        loop {
            tokio::time::sleep(PAUSE).await;
            let free = self.listener.as_fd().try_clone_to_owned();
            if free.is_ok_and(|free| (free.as_raw_fd() as u32) < most) {
                return;
            }
        }
    }
}

/// Whether the next connection will fail in the same way; otherwise only the one that was to be accepted did.
fn concerns_all(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
