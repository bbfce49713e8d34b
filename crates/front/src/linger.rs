//! Ends a connection in such a way that its peer receives what was sent last.
//!
//! If a connection is closed while received bytes have not been read, the system resets it. The peer's system
//! then discards what its program has not read yet: a response, or the close frame that gives the reason. So
//! the server ends its own direction first, and reads and discards what still arrives until the peer has
//! ended the other one. Invariant: this takes a bounded time, whatever the peer does.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// The bytes that one call reads.
const READ_BYTES: usize = 64 * 1024;
/// A peer that continues to send is read for at most this many times `silence`.
const MOST_SILENCES: u32 = 6;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Runs `step` until it is ready. `step` sets its flag whenever it has made progress. `step` is given up
/// after `silence` without progress, and after [`MOST_SILENCES`] times as long in any case.
pub async fn linger(silence: Duration, mut step: impl FnMut(&mut Context<'_>, &mut bool) -> Poll<()>) {
    let all = async {
        loop {
            let moves = poll_fn(|cx| {
                let mut moved = false;
                match step(cx, &mut moved) {
                    Poll::Ready(()) => Poll::Ready(false),
                    Poll::Pending if moved => Poll::Ready(true),
                    Poll::Pending => Poll::Pending,
                }
            });
            if timeout(silence, moves).await != Ok(true) {
                return;
            }
        }
    };
    // The connection is closed now, whether or not `step` has become ready.
    let _ = timeout(silence * MOST_SILENCES, all).await;
}

/// Ends the server's direction of a stream to which the last response was written, and reads on until the
/// peer has ended the other one.
pub(crate) async fn end(mut stream: impl AsyncRead + AsyncWrite + Unpin, silence: Duration) {
    let mut shut = false;
    linger(silence, |cx, moved| {
        if !shut {
            // If this fails, reading ends as well.
            shut = Pin::new(&mut stream).poll_shutdown(cx).is_ready();
        }
        poll_discard(|cx, buf| Pin::new(&mut stream).poll_read(cx, buf), cx, moved)
    })
    .await;
}

/// Reads and discards what has arrived, and sets `moved` if there was anything. It is ready when nothing more
/// can arrive.
pub fn poll_discard(
    mut stream: impl FnMut(&mut Context<'_>, &mut ReadBuf<'_>) -> Poll<std::io::Result<()>>,
    cx: &mut Context<'_>,
    moved: &mut bool,
) -> Poll<()> {
    READ.with_borrow_mut(|space| {
        loop {
            let mut buf = ReadBuf::new(space);
            let read = ready!(stream(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(());
            }
            *moved = true;
        }
    })
}
