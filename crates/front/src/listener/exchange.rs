//! The state that is shared by a connection's stream, the current request, and the code that answers it.
//!
//! Invariants: if a request is answered before its whole body was read, the connection reads the rest of the
//! body. Otherwise a reset could destroy the answer while the client still writes. A client that has ended
//! its direction of the connection after a complete request gets its answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, StatusCode, header};
use parking_lot::Mutex;

use super::body::Rest;
use crate::admission::AdmittedConnection;

/// The maximum number of bytes of an unwanted body that are read before the request is answered, so that the
/// connection can be kept open.
const READ_ON_BYTES: u64 = 1 << 20;
/// The longest time for reading such a body.
const READ_ON_TIME: Duration = Duration::from_secs(2);

/// The state of a connection's current request.
#[derive(Default)]
pub(crate) struct Exchange(Mutex<ExchangeState>);

#[derive(Default)]
struct ExchangeState {
    /// Keeps the connection counted.
    connected: Option<AdmittedConnection>,
    /// Whether there has been a request.
    asked: bool,
    /// Whether a request is being answered. What arrives meanwhile is its body or follows it.
    in_progress: bool,
    /// The rest of that request's body, which the stream has not read yet.
    body: Rest,
    /// Whether the head of a request was not complete in time.
    head_late: bool,
    /// What arrived after the request while it was being answered.
    behind: Option<Behind>,
    /// The task that waits for something to arrive after the request.
    waiting: Option<Waker>,
    /// The task of the stream, which does not read on before the request has been answered.
    reader: Option<Waker>,
    /// The part of the request's body that the service has not read.
    left: Option<Left>,
}

/// The rest of a body that the service has dropped.
struct Left {
    body: Incoming,
    /// Whether the client sends the body only if it is asked to (`Expect: 100-continue`).
    waits: bool,
}

/// What can arrive after a request while the request is being answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// Bytes: those of another request, or of the protocol that the connection switches to.
    Bytes,
    /// The end of what the client sends. The client may have disconnected, or may be waiting for the answer.
    End,
}

/// What the bytes that were read belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The head of a request.
    Head,
    /// The body of the current request, up to this length, which is not 0.
    Body(usize),
    /// What follows the current request.
    Behind,
}

impl Exchange {
    /// The state of a connection before its first request. `connected` counts it.
    pub(super) fn new(connected: Option<AdmittedConnection>) -> Self {
        Self(Mutex::new(ExchangeState {
            connected,
            ..ExchangeState::default()
        }))
    }

    /// Takes what keeps the connection counted.
    pub(super) fn take_connected(&self) -> Option<AdmittedConnection> {
        self.0.lock().connected.take()
    }

    /// Begins a request.
    pub(super) fn begin(self: &Arc<Self>, request: Request<Incoming>) -> Request<RequestBody> {
        let mut state = self.0.lock();
        (state.asked, state.in_progress) = (true, true);
        (state.behind, state.waiting, state.reader, state.left) = (None, None, None, None);
        state.body = Rest::new(request.body().size_hint().exact());
        drop(state);
        let waits = request.headers().contains_key(header::EXPECT);
        request.map(|body| RequestBody {
            body: Some(body),
            waits,
            exchange: self.clone(),
        })
    }

    /// Ends the request, which was answered with `status`, and reads the rest of its body. Returns false if
    /// the body is too large or too slow; the connection must end then.
    pub(super) async fn end(&self, status: StatusCode) -> bool {
        let left = self.0.lock().left.take();
        let read = match left {
            None => true,
            Some(Left { body, waits }) => {
                let hopeless = waits || body.size_hint().lower() > READ_ON_BYTES;
                !hopeless && matches!(tokio::time::timeout(READ_ON_TIME, read_on(body)).await, Ok(true))
            }
        };
        // No request can follow after a switch to another protocol.
        self.0.lock().in_progress = status == StatusCode::SWITCHING_PROTOCOLS;
        self.wake_reader();
        read
    }

    /// Whether a request is being answered.
    pub(super) fn is_in_progress(&self) -> bool {
        self.0.lock().in_progress
    }

    /// Whether a request whose whole body has arrived is being answered. hyper must not get the bytes that
    /// arrive then until the request has been answered.
    pub(super) fn is_answering(&self) -> bool {
        let state = self.0.lock();
        state.in_progress && state.body.is_complete()
    }

    /// Returns what the first bytes of `part` belong to. `part` is what was read last.
    pub(super) fn came(&self, part: &[u8]) -> Part {
        let mut state = self.0.lock();
        if !state.in_progress {
            return Part::Head;
        }
        match state.body.take(part) {
            0 => Part::Behind,
            length => Part::Body(length),
        }
    }

    /// Records what arrived after the current request. The stream is not read again until the request has
    /// been answered, or until [`Self::wake_reader`].
    pub(super) fn came_behind(&self, behind: Behind, cx: &Context<'_>) {
        let mut state = self.0.lock();
        state.behind.get_or_insert(behind);
        state.reader = Some(cx.waker().clone());
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }

    /// Wakes the stream, whose reading [`Self::came_behind`] has postponed.
    pub(super) fn wake_reader(&self) {
        let reader = self.0.lock().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(super) fn set_head_late(&self) {
        self.0.lock().head_late = true;
    }

    /// Whether the head of a request was not complete in time.
    pub(super) fn is_head_late(&self) -> bool {
        self.0.lock().head_late
    }

    /// Whether there has been a request.
    pub(super) fn was_asked(&self) -> bool {
        self.0.lock().asked
    }
}

/// Reads a body to its end and discards it. Returns false if it fails or is larger than the limit.
async fn read_on(mut body: Incoming) -> bool {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        if bytes > READ_ON_BYTES {
            return false;
        }
    }
    true
}

/// The body of a request to a [`Listener`](crate::Listener). If it is dropped before it was read completely,
/// the rest is read and discarded, up to a limit, before the answer is sent.
pub struct RequestBody {
    /// Taken when this is dropped.
    body: Option<Incoming>,
    waits: bool,
    exchange: Arc<Exchange>,
}

impl RequestBody {
    /// Stops counting the request's connection for its address. The caller has recognised a peer whose
    /// requests are those of many clients.
    pub fn uncount_connection(&self) {
        self.exchange.take_connected();
    }

    /// Waits until something has arrived after this request on its connection. The rest of the body is
    /// dropped at once.
    pub fn behind(self) -> impl Future<Output = Behind> + Send {
        let exchange = self.exchange.clone();
        poll_fn(move |cx| {
            let mut state = exchange.0.lock();
            if let Some(behind) = state.behind {
                return Poll::Ready(behind);
            }
            state.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        this.waits = false;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let None | Some(Err(_)) = frame {
            this.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take_if(|body| !body.is_end_stream()) {
            let waits = self.waits;
            self.exchange.0.lock().left = Some(Left { body, waits });
        }
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}
