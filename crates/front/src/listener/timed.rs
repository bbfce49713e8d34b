//! The stream of an HTTP connection, with time limits for reading and writing. Its first bytes have been read
//! already.
//!
//! Invariants: hyper gets one request head at a time, with an escaped request line, and bodies separately
//! from heads. It gets what follows a request, including the end of the stream, only when that request has
//! been answered. If a peer makes no progress, its connection fails. A connection that the server closes is
//! closed in such a way that the last response arrives.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::exchange::{Behind, Exchange, Part};
use super::first::HeadEnd;
use super::target;
use crate::linger;
use crate::options::ListenerOptions;

/// A peer must read this many bytes of a response per second on average, in addition to the time that it may
/// stop reading.
const LEAST_BYTES_PER_SECOND: u64 = 4 * 1024;
/// A connection that the server closes waits this long for its peer, counted from the last bytes received.
const SILENCE: Duration = Duration::from_secs(5);

/// The traits that the underlying stream needs.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// A stream that fails with [`io::ErrorKind::TimedOut`] when the peer is too slow; hyper itself would wait,
/// and keep the response, forever. It is used only for HTTP, because WebSockets have heartbeats.
pub(crate) struct Timed<T: Stream> {
    /// `None` after the stream was returned by `into_parts` or taken by `drop`.
    stream: Option<T>,
    /// Bytes that have been read and not been passed on yet.
    buffered: Bytes,
    exchange: Arc<Exchange>,
    write_timeout_ms: u32,
    header_timeout_ms: u32,
    head: HeadEnd,
    /// The timer of a head that has begun and not ended.
    head_due: Option<Pin<Box<Sleep>>>,
    slow: Slow,
    /// Whether something has been written.
    wrote: bool,
    /// Whether the peer has ended its direction, or the stream has failed.
    ended: bool,
}

/// How long the peer may still stop reading a response.
struct Slow {
    left: Duration,
    /// Since when the peer has read nothing, and the timer that ends this.
    since: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<T: Stream> Timed<T> {
    /// `buffered` are the bytes of `stream` that have been read already.
    pub(super) fn new(
        stream: T,
        buffered: Bytes,
        options: &ListenerOptions,
        exchange: Arc<Exchange>,
    ) -> Self {
        Self {
            stream: Some(stream),
            buffered,
            exchange,
            write_timeout_ms: options.write_timeout_ms,
            header_timeout_ms: options.header_timeout_ms,
            head: HeadEnd::default(),
            head_due: None,
            slow: Slow {
                left: Duration::from_millis(options.write_timeout_ms.into()),
                since: None,
            },
            wrote: false,
            ended: false,
        }
    }

    /// The stream, and the bytes that have been read from it and not been passed on.
    pub(crate) fn into_parts(mut self) -> Option<(T, Bytes)> {
        let buffered = std::mem::take(&mut self.buffered);
        Some((self.stream.take()?, buffered))
    }

    fn poll_stream<R>(&mut self, f: impl FnOnce(Pin<&mut T>) -> Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match &mut self.stream {
            Some(stream) => f(Pin::new(stream)),
            // The stream is taken only when this value is consumed or dropped.
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Reads the next bytes. At the end of the stream it adds none to `buf`.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.buffered.is_empty() {
            let n = self.buffered.len().min(buf.remaining());
            buf.put_slice(&self.buffered.split_to(n));
            if self.buffered.is_empty() {
                self.buffered = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = ready!(self.poll_stream(|stream| stream.poll_read(cx, buf)));
        self.ended |= read.is_err() || buf.filled().len() == before;
        Poll::Ready(read)
    }

    /// Removes what follows the first `length` bytes from `buf`, and keeps it for the next read.
    fn put_back(&mut self, buf: &mut ReadBuf<'_>, length: usize) {
        if length < buf.filled().len() {
            self.buffered = [&buf.filled()[length..], &self.buffered].concat().into();
            buf.set_filled(length);
        }
    }

    /// Fails when the time for the head that has begun is over.
    fn poll_head_due(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.head.is_begun() {
            return Poll::Pending;
        }
        let limit = Duration::from_millis(self.header_timeout_ms.into());
        let due = self
            .head_due
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(due.as_mut().poll(cx));
        self.exchange.set_head_late();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Updates the time limit after a write. `taken` returns the number of written bytes.
    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<R>>,
        taken: impl FnOnce(&R) -> usize,
    ) -> Poll<io::Result<R>> {
        match written {
            Poll::Ready(Ok(done)) => {
                self.wrote = true;
                if let Some((since, _)) = self.slow.since.take() {
                    let earned = Duration::from_millis(taken(&done) as u64 * 1_000 / LEAST_BYTES_PER_SECOND);
                    let left = self.slow.left.saturating_sub(since.elapsed()) + earned;
                    self.slow.left = left.min(Duration::from_millis(self.write_timeout_ms.into()));
                    // The end of the stream may have been postponed until now.
                    self.exchange.wake_reader();
                }
                Poll::Ready(Ok(done))
            }
            Poll::Ready(Err(error)) => {
                self.ended = true;
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                let left = self.slow.left;
                let (_, until) = self
                    .slow
                    .since
                    .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
                ready!(until.as_mut().poll(cx));
                // `drop` must not wait for this peer either.
                self.ended = true;
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<T: Stream> AsyncRead for Timed<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let timed = self.get_mut();
        if !timed.buffered.is_empty() && timed.exchange.is_answering() {
            timed.exchange.came_behind(Behind::Bytes, cx);
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if timed.poll_bytes(cx, buf)?.is_pending() {
            // The time for the next head begins when this request has been answered.
            return if timed.exchange.is_in_progress() {
                Poll::Pending
            } else {
                timed.poll_head_due(cx)
            };
        }
        if buf.filled().len() == before {
            // If hyper saw the end now, it would drop the response that is being prepared or written.
            let answers = timed.slow.since.is_some() || timed.exchange.is_answering();
            if answers {
                timed.exchange.came_behind(Behind::End, cx);
                return Poll::Pending;
            }
            return Poll::Ready(Ok(()));
        }
        match timed.exchange.came(&buf.filled()[before..]) {
            Part::Head => {}
            Part::Body(length) => {
                timed.put_back(buf, before + length);
                return Poll::Ready(Ok(()));
            }
            Part::Behind => {
                timed.put_back(buf, before);
                timed.exchange.came_behind(Behind::Bytes, cx);
                return Poll::Pending;
            }
        }
        let part = &buf.filled()[before..];
        if let Some(escaped) = target::escaped(part, timed.head.request_line(part)) {
            // The part is longer now, and `buf` may be too small for it.
            timed.buffered = [escaped, std::mem::take(&mut timed.buffered)].concat().into();
            buf.set_filled(before);
            ready!(timed.poll_bytes(cx, buf))?;
        }
        if let Some(end) = timed.head.find(&buf.filled()[before..]) {
            timed.head_due = None;
            timed.slow.left = Duration::from_millis(timed.write_timeout_ms.into());
            timed.put_back(buf, before + end);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Stream> AsyncWrite for Timed<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let timed = self.get_mut();
        let written = timed.poll_stream(|stream| stream.poll_write(cx, bytes));
        timed.watch(cx, written, |n| *n)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let timed = self.get_mut();
        let written = timed.poll_stream(|stream| stream.poll_write_vectored(cx, slices));
        timed.watch(cx, written, |n| *n)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timed = self.get_mut();
        let flushed = timed.poll_stream(|stream| stream.poll_flush(cx));
        timed.watch(cx, flushed, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timed = self.get_mut();
        let shut = timed.poll_stream(|stream| stream.poll_shutdown(cx));
        timed.watch(cx, shut, |()| 0)
    }
}

impl<T: Stream> Drop for Timed<T> {
    /// hyper closes a connection if it could not read a request to its end. The answer to that request must
    /// not be lost.
    fn drop(&mut self) {
        let connected = self.exchange.take_connected();
        let (Some(stream), true, false) = (self.stream.take(), self.wrote, self.ended) else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let _connected = connected;
            linger::end(stream, SILENCE).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn timed(stream: DuplexStream, buffered: &'static str) -> Timed<DuplexStream> {
        let options = ListenerOptions {
            write_timeout_ms: 1_000,
            header_timeout_ms: 1_000,
            ..ListenerOptions::default()
        };
        Timed::new(stream, buffered.into(), &options, Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(10);
        let mut timed = timed(ours, "");
        let error = timed.write_all(&[1; 11]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// Writes to a peer that reads `part` bytes every 100 ms.
    async fn written_to_a_slow_peer(part: usize) -> io::Result<()> {
        let (ours, mut theirs) = tokio::io::duplex(part);
        let mut timed = timed(ours, "");
        let reading = tokio::spawn(async move {
            let mut space = vec![0; part];
            while theirs.read_exact(&mut space).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let written = timed.write_all(&vec![1; part * 100]).await;
        reading.abort();
        written
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_must_read_an_answer_at_a_minimum_rate() {
        let least = LEAST_BYTES_PER_SECOND as usize / 10;
        written_to_a_slow_peer(least * 2).await.unwrap();
        let error = written_to_a_slow_peer(least / 2).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_head_that_has_begun_has_a_timeout() {
        let (ours, mut theirs) = tokio::io::duplex(1_000);
        let mut timed = timed(ours, "GET / HTTP/1.1\r\n\r\n");
        let mut space = [0; 100];
        assert_eq!(timed.read(&mut space).await.unwrap(), 18);
        let nothing = tokio::time::timeout(Duration::from_secs(60), timed.read(&mut space)).await;
        assert!(nothing.is_err(), "an idle connection is hyper's to close");
        theirs.write_all(b"GET / H").await.unwrap();
        assert_eq!(timed.read(&mut space).await.unwrap(), 7);
        let error = timed.read(&mut space).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(timed.exchange.is_head_late());
    }

    #[tokio::test]
    async fn what_follows_a_head_is_read_separately() {
        let (ours, mut theirs) = tokio::io::duplex(1_000);
        let mut timed = timed(ours, "GET /1 HTTP/1.1\r\n\r\nGET /2 HT");
        theirs
            .write_all(b"TP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\n\r\nbody")
            .await
            .unwrap();
        let mut space = [0; 100];
        for expected in [
            "GET /1 HTTP/1.1\r\n\r\n",
            "GET /2 HT",
            "TP/1.1\r\n\r\n",
            "POST /3 HTTP/1.1\r\n\r\n",
            "body",
        ] {
            let n = timed.read(&mut space).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&space[..n]), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_peer_can_read_the_last_answer_after_a_drop() {
        let (ours, mut theirs) = tokio::io::duplex(1_000);
        let mut timed = timed(ours, "");
        timed.write_all(b"answer").await.unwrap();
        drop(timed);
        // This would fail if the connection had been closed.
        for _ in 0..10 {
            theirs.write_all(&[b'x'; 900]).await.unwrap();
        }
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }
}
