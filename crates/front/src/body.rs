//! The body of a response, which is given to hyper in parts.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// hyper is given a body in parts of this size, and asks for the next part when it has written one.
const PART_BYTES: usize = 64 * 1024;

/// The body of a response. It owns a value (a permit or a count of bytes) that is dropped when all parts but
/// the last have been written: as long as the peer does not read, the value is kept.
#[derive(Default)]
pub struct Body {
    rest: Bytes,
    held: Option<Box<dyn Send + Sync>>,
}

impl Body {
    /// Creates a body of these bytes that drops `held` when hyper has taken all of them.
    pub fn holding(bytes: impl Into<Bytes>, held: impl Send + Sync + 'static) -> Self {
        Self {
            rest: bytes.into(),
            held: Some(Box::new(held)),
        }
    }

    /// Makes the body drop `held` when hyper has taken all its bytes.
    pub fn hold(&mut self, held: impl Send + Sync + 'static) {
        self.held = Some(Box::new(held));
    }
}

impl From<Bytes> for Body {
    fn from(rest: Bytes) -> Self {
        Self { rest, held: None }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        if body.rest.is_empty() {
            body.held = None;
            return Poll::Ready(None);
        }
        let part = body.rest.split_to(body.rest.len().min(PART_BYTES));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.rest.len())
    }
}
