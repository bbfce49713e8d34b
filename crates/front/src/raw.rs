//! The stream of a connection that has switched from HTTP to another protocol.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use mynah_tls::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::listener::Timed;

/// A stream that is not plain TCP, usually TLS.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that does not speak HTTP any more and does not have the time limits of the
/// [`Listener`](crate::Listener).
pub enum RawStream {
    /// A TCP stream, which needs no flush.
    Tcp(TcpStream),
    /// Any other stream.
    Other(Box<dyn Duplex>),
}

impl RawStream {
    /// Waits until the response that switches protocols has been written, and takes the stream back from
    /// hyper, with the bytes that were already read from it. `None` if the connection failed first.
    pub async fn take(upgraded: OnUpgrade) -> Option<(Self, Bytes)> {
        let upgraded = upgraded.await.ok()?;
        let (stream, early, buffered) = match upgraded.downcast::<TokioIo<Timed<TcpStream>>>() {
            Ok(parts) => {
                let (stream, buffered) = parts.io.into_inner().into_parts()?;
                (Self::Tcp(stream), parts.read_buf, buffered)
            }
            Err(other) => match other.downcast::<TokioIo<Timed<Box<TlsStream>>>>() {
                Ok(parts) => {
                    let (stream, buffered) = parts.io.into_inner().into_parts()?;
                    (Self::Other(stream), parts.read_buf, buffered)
                }
                Err(other) => {
                    let stream: Box<TokioIo<Upgraded>> = Box::new(TokioIo::new(other));
                    (Self::Other(stream), Bytes::new(), Bytes::new())
                }
            },
        };
        // hyper has read `early` from the stream, so it precedes the bytes that the stream still has.
        let early = if buffered.is_empty() {
            early
        } else {
            [early, buffered].concat().into()
        };
        Some((stream, early))
    }

    /// Like [`AsyncRead::poll_read`].
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Other(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    /// Like [`AsyncWrite::poll_write`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Other(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Like [`AsyncWrite::poll_write_vectored`].
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Other(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    /// Like [`AsyncWrite::poll_flush`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Like [`AsyncWrite::poll_shutdown`].
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for RawStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for RawStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_shutdown(cx)
    }
}
