//! Accepts connections and serves HTTP/1.1 on them.
//!
//! Invariants: if the process runs out of file descriptors, the listener stops accepting until some are free,
//! and everything else continues. A connection that is not served is closed.

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
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::options::ListenerOptions;
use connection::Accepted;
pub use exchange::{Behind, RequestBody};
pub(crate) use timed::Timed;

/// How often a listener without file descriptors checks whether one is free again.
const PAUSE: Duration = Duration::from_millis(50);
/// The pause is logged at most once in this time.
const BETWEEN_LOGS: Duration = Duration::from_secs(60);

/// Serves HTTP on a TCP listener.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    options: Arc<ListenerOptions>,
    /// When a pause was logged last.
    logged: Option<Instant>,
}

impl Listener {
    /// Creates a listener that serves the connections which `listener` accepts.
    pub fn new(listener: TcpListener, options: ListenerOptions) -> Self {
        Self {
            listener,
            options: Arc::new(options),
            logged: None,
        }
    }

    /// Accepts connections until `shutdown` is ready. Accepted connections are served in tasks of their own.
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
                    Accepted::new(peer, service.clone(), self.options.clone()).start(stream);
                    full.then(|| "nearly all file descriptors are in use".to_owned())
                }
                Err(error) => concerns_all(&error).then(|| error.to_string()),
            };
            if let Some(why) = full {
                tokio::select! {
                    biased;
                    () = &mut shutdown => return,
                    () = self.wait_for_descriptor(&why) => {}
                }
            }
        }
    }

    /// Whether `stream` has used the last file descriptor that is allowed. The system assigns the lowest free
    /// number, so the number tells how many are in use.
    fn is_last(&self, stream: &TcpStream) -> bool {
        self.options
            .max_descriptors
            .is_some_and(|most| stream.as_raw_fd() as u32 >= most)
    }

    /// Waits until a file descriptor is free.
    async fn wait_for_descriptor(&mut self, why: &str) {
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

/// Whether accepting other connections will fail with this error too, because it does not concern only one
/// connection.
fn concerns_all(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
