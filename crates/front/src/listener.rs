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
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::options::ListenerOptions;
pub use exchange::{AwaitBehind, Behind, RequestBody};
pub(crate) use timed::Timed;

/// While there is no room it is looked for this often.
const PAUSE: Duration = Duration::from_millis(50);
/// It is logged no more often than this that there is none.
const BETWEEN_LOGS: Duration = Duration::from_secs(60);

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
