//! A stream whose beginning was read already, and whose peer has to take what is written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Fails with [`io::ErrorKind::TimedOut`] once the peer has taken nothing of what is to be written for so long: hyper itself would wait,
/// and keep the answer, for ever. Only while HTTP is spoken; WebSockets have heartbeats.
pub(crate) struct Timed<T> {
    stream: T,
    /// Read already.
    begun: Bytes,
    patience_ms: u32,
    /// Set while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Timed<T> {
    /// `begun` is what was read of `stream` already.
    pub(crate) fn new(stream: T, begun: Bytes, patience_ms: u32) -> Self {
        Self {
            stream,
            begun,
            patience_ms,
            stalled: None,
        }
    }

    /// The stream, and what was read of it and not taken.
    pub(crate) fn into_parts(self) -> (T, Bytes) {
        (self.stream, self.begun)
    }

    fn watch<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = Duration::from_millis(self.patience_ms.into());
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let timed = self.get_mut();
        if timed.begun.is_empty() {
            return Pin::new(&mut timed.stream).poll_read(cx, buf);
        }
        let n = timed.begun.len().min(buf.remaining());
        buf.put_slice(&timed.begun.split_to(n));
        if timed.begun.is_empty() {
            timed.begun = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let timed = self.get_mut();
        let written = Pin::new(&mut timed.stream).poll_write(cx, bytes);
        timed.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let timed = self.get_mut();
        let written = Pin::new(&mut timed.stream).poll_write_vectored(cx, slices);
        timed.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timed = self.get_mut();
        let flushed = Pin::new(&mut timed.stream).poll_flush(cx);
        timed.watch(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timed = self.get_mut();
        let shut = Pin::new(&mut timed.stream).poll_shutdown(cx);
        timed.watch(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_a_little_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(10);
        let mut timed = Timed::new(ours, Bytes::new(), 1_000);
        let reading = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(900)).await;
                theirs.read_exact(&mut [0; 10]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(timed.write_all(&[1; 110]), reading);
        written.unwrap();
        let error = timed.write_all(&[1; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
