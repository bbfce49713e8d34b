//! Another node: its connections, and requests to it.
//!
//! Invariant: a request that may have reached the node is not sent a second time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::http::uri::Authority;
use hyper::{Request, Response};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::dial::{Dial, Failed, OutgoingBody};

/// The maximum number of connections to one node that are kept without a request.
const MOST_IDLE: usize = 256;
/// How long it may take to connect to a node. Together with what follows it is less than a second, after
/// which a client must have been told that its session is unknown.
const CONNECT_WITHIN: Duration = Duration::from_millis(900);

/// Another node, from its start to its end.
pub struct Node {
    address: Authority,
    /// Connections whose last response has begun. Those whose response has ended can be used again.
    idle: Mutex<Vec<Idle>>,
    ended: watch::Sender<bool>,
    /// Whether the last attempt to connect failed.
    is_failing: AtomicBool,
}

struct Idle {
    sender: SendRequest<OutgoingBody>,
    since: Instant,
}

impl Node {
    pub(crate) fn new(address: Authority) -> Self {
        Self {
            address,
            idle: Mutex::default(),
            ended: watch::Sender::new(false),
            is_failing: AtomicBool::new(false),
        }
    }

    /// Host and port of the node.
    pub(crate) fn address(&self) -> &str {
        self.address.as_str()
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.address
    }

    /// Ends everything that waits for the node.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
        self.idle.lock().clear();
    }

    #[cfg(test)]
    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until the node has ended.
    pub(crate) async fn until_ended(&self) {
        // It does not fail, because the sender is a part of the node.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Sends a request. If the future is dropped, the connection is closed, which cancels the request.
    pub(crate) async fn send(
        &self,
        dial: &Dial,
        request: Request<OutgoingBody>,
    ) -> Result<Response<Incoming>, Failed> {
        tokio::select! {
            biased;
            answer = self.try_send(dial, request) => answer,
            () = self.until_ended() => Err(Failed::Ended),
        }
    }

    async fn try_send(
        &self,
        dial: &Dial,
        mut request: Request<OutgoingBody>,
    ) -> Result<Response<Incoming>, Failed> {
        loop {
            let idle = self.take_idle(dial.idle);
            let is_new = idle.is_none();
            let mut sender = match idle {
                Some(sender) => sender,
                None => self.connect(dial).await?,
            };
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep(sender, dial.idle);
                    return Ok(response);
                }
                Err(error) => error,
            };
            // The node has closed the connection, which was not in use, before anything was sent.
            match error.take_message().filter(|_| !is_new) {
                Some(unsent) => request = unsent,
                None => return Err(error.into_error().into()),
            }
        }
    }

    async fn connect(&self, dial: &Dial) -> Result<SendRequest<OutgoingBody>, Failed> {
        let connecting = timeout(CONNECT_WITHIN, dial.connect(&self.address)).await;
        let connected = connecting.unwrap_or(Err(Failed::Timeout));
        let was_failing = self.is_failing.swap(connected.is_err(), Ordering::Relaxed);
        match &connected {
            Err(error) if !was_failing => {
                tracing::warn!("the node at {} cannot be reached: {error}", self.address);
            }
            Ok(_) if was_failing => tracing::info!("the node at {} is reached again", self.address),
            Ok(_) | Err(_) => {}
        }
        connected
    }

    fn take_idle(&self, most: Duration) -> Option<SendRequest<OutgoingBody>> {
        let mut idle = self.idle.lock();
        idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < most);
        // The latest one, so that those that are not needed are closed in time.
        let at = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        Some(idle.remove(at).sender)
    }

    fn keep(&self, sender: SendRequest<OutgoingBody>, most: Duration) {
        let mut idle = self.idle.lock();
        if idle.len() >= MOST_IDLE {
            idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < most);
        }
        if idle.len() < MOST_IDLE && !*self.ended.borrow() {
            idle.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }
}
