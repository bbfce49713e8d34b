//! TLS on a TCP stream. An idle stream holds no buffers.
//!
//! The buffered connection of rustls keeps 4 KiB for reading as long as it lives, and most connections of a
//! gateway are idle. Here rustls works on buffers that are given to it (its unbuffered interface), one of
//! each kind per thread; a connection keeps only the bytes that are left over.
//!
//! Invariants: ciphertext is sent once and in order. While some of it waits for the socket, nothing further
//! is encrypted, so that a peer that does not read cannot make a buffer grow.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod records;
#[cfg(any(test, fuzzing))]
mod testing;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use records::Records;

/// The ciphertext that one call reads. A record has at most 18 KiB.
const READ_BYTES: usize = 32 * 1024;
/// The plaintext that is encrypted at once: two records.
const MOST_PLAIN: usize = 32 * 1024;
/// The space for the ciphertext of [`MOST_PLAIN`] bytes, and for records that rustls sends by itself.
const SEALED_BYTES: usize = MOST_PLAIN + 4 * 1024;
/// If more ciphertext than this waits for the socket, the peer's records are not read: rustls might answer
/// them with more.
const MOST_UNSENT: usize = 2 * SEALED_BYTES;

/// The answer to a client that speaks plain HTTP on this port.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: 45\r\n\
    Connection: close\r\n\r\nThis port speaks TLS: use https:// or wss://\n";

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SEALED: RefCell<Box<[u8]>> = RefCell::new(vec![0; SEALED_BYTES].into_boxed_slice());
}

/// A stream whose handshake is complete.
pub struct TlsStream {
    tcp: TcpStream,
    records: Records,
    /// The beginning of a record whose rest has not arrived yet.
    incoming: Vec<u8>,
    /// Plaintext that has not been read yet.
    plain: BytesMut,
}

impl TlsStream {
    /// Performs the handshake. The caller limits the time that it takes.
    pub async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Box<Self>> {
        let mut stream = Box::new(Self {
            tcp,
            records: Records::new(config)?,
            incoming: Vec::new(),
            plain: BytesMut::new(),
        });
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_read_space(|stream, space, filled| {
            loop {
                // A TLS record begins with a number below 32, an HTTP request with a letter.
                if space[..*filled].first().is_some_and(u8::is_ascii_uppercase) {
                    // This is best effort: the connection is closed whether or not the answer was written.
                    let _ = Pin::new(&mut stream.tcp).poll_write(cx, PLAIN_HTTP);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP")));
                }
                let processed = stream.records.process(space, filled, &mut stream.plain);
                // If the handshake has failed, this sends the alert.
                let sent = stream.poll_send(cx)?;
                let done = processed?;
                if done {
                    return sent.map(Ok);
                }
                // The handshake fails if the peer closes the connection before it is complete.
                if stream.records.ended || ready!(stream.poll_fill(cx, space, filled))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        })
    }

    /// Reads records until there is plaintext for `buf`, or the stream has ended.
    fn poll_records(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with_read_space(|stream, space, filled| {
            loop {
                let processed = stream.records.process(space, filled, &mut stream.plain);
                let sent = stream.poll_send(cx)?;
                processed?;
                if !stream.plain.is_empty() || stream.records.ended {
                    stream.take_plain(buf);
                    return Poll::Ready(Ok(()));
                }
                if sent.is_pending() && stream.records.outgoing.len() > MOST_UNSENT {
                    return Poll::Pending;
                }
                if ready!(stream.poll_fill(cx, space, filled))? == 0 {
                    stream.records.ended = true;
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }

    fn take_plain(&mut self, buf: &mut ReadBuf<'_>) {
        let n = self.plain.len().min(buf.remaining());
        buf.put_slice(&self.plain[..n]);
        self.plain.advance(n);
        if self.plain.is_empty() {
            self.plain = BytesMut::new();
        }
    }

    /// Runs `f` on this thread's buffer for reading, which begins with the bytes that were left over before,
    /// and keeps what `f` leaves over.
    fn with_read_space<T>(&mut self, f: impl FnOnce(&mut Self, &mut [u8], &mut usize) -> T) -> T {
        READ.with_borrow_mut(|space| {
            let before = mem::take(&mut self.incoming);
            let mut filled = before.len();
            space[..filled].copy_from_slice(&before);
            let result = f(self, space, &mut filled);
            self.incoming = space[..filled].to_vec();
            result
        })
    }

    /// Reads bytes into `space` after `space[..*filled]`. Returns 0 at the end of the stream.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
        filled: &mut usize,
    ) -> Poll<io::Result<usize>> {
        if *filled == space.len() {
            // This is longer than any record that rustls accepts.
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let mut buf = ReadBuf::new(&mut space[*filled..]);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buf))?;
        let n = buf.filled().len();
        *filled += n;
        Poll::Ready(Ok(n))
    }

    /// Writes the waiting ciphertext to the socket. It is ready when none is left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outgoing = &mut self.records.outgoing;
        if outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !outgoing.is_empty() {
            let n = ready!(Pin::new(&mut self.tcp).poll_write(cx, outgoing))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outgoing.advance(n);
        }
        *outgoing = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Encrypts `plain` and sends as much as the socket accepts at once. No ciphertext may be waiting.
    fn seal(&mut self, cx: &mut Context<'_>, plain: &[u8]) -> io::Result<usize> {
        SEALED.with_borrow_mut(|sealed| {
            let n = self
                .records
                .encrypt(&mut self.incoming, &mut self.plain, plain, sealed)?;
            let mut sent = 0;
            // Ciphertext that rustls has produced before must be sent first.
            while self.records.outgoing.is_empty() && sent < n {
                match Pin::new(&mut self.tcp).poll_write(cx, &sealed[sent..n])? {
                    Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(more) => sent += more,
                    Poll::Pending => break,
                }
            }
            self.records.outgoing.extend_from_slice(&sealed[sent..n]);
            Ok(plain.len())
        })
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if stream.plain.is_empty() {
            return stream.poll_records(cx, buf);
        }
        stream.take_plain(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        ready!(stream.poll_send(cx))?;
        Poll::Ready(stream.seal(cx, &bytes[..bytes.len().min(MOST_PLAIN)]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        ready!(stream.poll_send(cx))?;
        // Several WebSocket frames are encrypted together, so that they share a record.
        PLAIN.with_borrow_mut(|plain| {
            plain.clear();
            for slice in slices {
                let room = MOST_PLAIN - plain.len();
                plain.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            Poll::Ready(stream.seal(cx, plain))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.records.close(&mut stream.incoming, &mut stream.plain);
        ready!(stream.poll_send(cx))?;
        Pin::new(&mut stream.tcp).poll_shutdown(cx)
    }
}
