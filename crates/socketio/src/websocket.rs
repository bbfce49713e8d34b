//! A WebSocket on its raw stream. It reads through one buffer per thread, and writes many queued frames with
//! one call.
//!
//! Invariants: a frame is written to its end, or the stream is closed; an idle WebSocket holds no buffer.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use mynah_front::{RawStream, linger, poll_discard};
use mynah_wire::ws;
use tokio::io::ReadBuf;

use crate::encoded::Outgoing;
use crate::queue::Queue;
use crate::shared::Shared;

/// The maximum number of frames that one call writes.
const MOST_SLICES: usize = 64;
/// The maximum number of bytes that are read ahead while a handler's future is pending.
const AHEAD_BYTES: usize = 1_024;
/// The maximum number of bytes that one call reads.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// A WebSocket.
pub(crate) struct WebSocket {
    stream: RawStream,
    decoder: ws::Decoder,
    /// Bytes that were read but not decoded: those that arrived with the upgrade request, and those after a
    /// message whose handler is not done. Never empty.
    unread: Option<Box<BytesMut>>,
    /// The frames to be written. The first one may have been written in part.
    writing: Queue<Outgoing>,
    /// Whether the first frame of `writing` has been written in part.
    begun: bool,
    /// Whether a stream that buffers has to be flushed.
    flush: bool,
    /// Whether the stream has accepted bytes since the last [`WebSocket::take_progress`].
    progress: bool,
    /// Whether the client's library hides a close frame from its application, and reports only the end of the
    /// stream.
    ignores_close: bool,
}

impl WebSocket {
    /// `early`: the bytes that the client sent directly after its upgrade request.
    pub(crate) fn new(stream: RawStream, early: &[u8], max_message: usize, ignores_close: bool) -> Self {
        Self {
            stream,
            decoder: ws::Decoder::new(ws::Role::Server, max_message),
            unread: boxed(early),
            writing: Queue::Empty,
            begun: false,
            flush: false,
            progress: false,
            ignores_close,
        }
    }

    /// Passes received messages to `f`, and reads until no more arrive (`Pending`), until `f` returns
    /// `Ready`, or until the stream ends.
    ///
    /// Bytes after the message at which `f` stopped are kept for the next call. Pings are answered here.
    pub(crate) fn poll_messages(
        &mut self,
        cx: &mut Context<'_>,
        mut f: impl FnMut(ws::Message<'_>) -> Poll<()>,
    ) -> Poll<Result<(), WebSocketError>> {
        if let Some(mut unread) = self.unread.take() {
            let mut at = 0;
            if self.decode(&mut unread, &mut at, &mut f)? {
                unread.advance(at);
                self.unread = (!unread.is_empty()).then_some(unread);
                return Poll::Ready(Ok(()));
            }
        }
        READ.with_borrow_mut(|space| {
            loop {
                let mut buf = ReadBuf::new(space);
                match ready!(self.stream.poll_read(cx, &mut buf)) {
                    Err(_) => return Poll::Ready(Err(WebSocketError::Failed)),
                    Ok(()) if buf.filled().is_empty() => return Poll::Ready(Err(WebSocketError::Ended)),
                    Ok(()) => {}
                }
                let mut at = 0;
                if self.decode(buf.filled_mut(), &mut at, &mut f)? {
                    self.unread = boxed(&buf.filled()[at..]);
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }

    /// Whether the peer has ended the stream or sent a close frame, and all that it sent before has been
    /// handled. This is called while a handler's future is pending and no messages are read. It reads ahead
    /// at most [`AHEAD_BYTES`].
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let waiting = self.unread.as_ref().map_or(0, |unread| unread.len());
            if self.starts_with_close_frame() || waiting >= AHEAD_BYTES {
                return self.starts_with_close_frame();
            }
            let read = READ.with_borrow_mut(|space| {
                let mut buf = ReadBuf::new(&mut space[..AHEAD_BYTES - waiting]);
                let read = self.stream.poll_read(cx, &mut buf);
                read.map_ok(|()| {
                    if !buf.filled().is_empty() {
                        let unread = self.unread.get_or_insert_default();
                        unread.extend_from_slice(buf.filled());
                    }
                    buf.filled().len()
                })
            });
            match read {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => return self.unread.is_none(),
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    /// Whether the next frame is a close frame. A handler runs between two messages, so the unread input
    /// always starts with a frame.
    fn starts_with_close_frame(&self) -> bool {
        const CLOSE: u8 = 0x88;
        self.unread
            .as_ref()
            .is_some_and(|unread| unread.first() == Some(&CLOSE))
    }

    /// Decodes `chunk[at..]`, to its end or to the message at which `f` stops (true).
    fn decode(
        &mut self,
        chunk: &mut [u8],
        at: &mut usize,
        f: &mut impl FnMut(ws::Message<'_>) -> Poll<()>,
    ) -> Result<bool, WebSocketError> {
        loop {
            let pong = match self.decoder.decode(chunk, at) {
                Err(error) => return Err(WebSocketError::Frame(error.close_code())),
                Ok(None) => return Ok(false),
                Ok(Some(ws::Message::Ping(payload))) => Outgoing::pong(payload),
                Ok(Some(message)) => {
                    if f(message).is_ready() {
                        return Ok(true);
                    }
                    continue;
                }
            };
            self.push_pong(pong);
        }
    }

    /// Appends the packets that a session has queued.
    pub(crate) fn load(&mut self, queued: Queue<Outgoing>) {
        if self.writing.is_empty() {
            self.writing = queued;
        } else {
            queued.for_each(|packet| self.writing.push(packet));
        }
    }

    /// Appends a frame.
    pub(crate) fn push(&mut self, frame: Outgoing) {
        self.writing.push(frame);
    }

    /// Appends a pong. Only the latest ping needs an answer (RFC 6455, section 5.5.3), so it replaces a pong
    /// that waits at the end of the queue.
    fn push_pong(&mut self, pong: Outgoing) {
        let unbegun = self.writing.len() > usize::from(self.begun);
        match self.writing.last_mut() {
            Some(last) if last.is_pong() && unbegun => *last = pong,
            _ => self.writing.push(pong),
        }
    }

    /// Drops the frames of which nothing has been written.
    pub(crate) fn discard_unwritten(&mut self) {
        self.writing.truncate(usize::from(self.begun));
    }

    /// The number of received bytes that have not been handled.
    pub(crate) fn held_bytes(&self) -> usize {
        self.decoder.held_bytes() + self.unread.as_ref().map_or(0, |unread| unread.len())
    }

    pub(crate) fn is_writing(&self) -> bool {
        !self.writing.is_empty() || self.flush
    }

    /// Whether the stream has accepted bytes since the last call.
    pub(crate) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// Writes until everything is written (`Ready`) or the stream accepts no more. Adds the weight of the
    /// completed frames to `written`.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, written: &mut usize) -> Poll<io::Result<()>> {
        while !self.writing.is_empty() {
            let n = ready!(self.write_once(cx))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += self.advance(n);
            self.progress = true;
            self.flush = matches!(self.stream, RawStream::Other(_));
        }
        if self.flush {
            ready!(self.stream.poll_flush(cx))?;
            self.flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn write_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Usually there is one frame. Writing it without a vector is cheaper for the system.
        if let Queue::One(frame) = &self.writing {
            return self.stream.poll_write(cx, frame.frame());
        }
        let mut slices = [IoSlice::new(&[]); MOST_SLICES];
        let count = self.writing.len().min(MOST_SLICES);
        for (slice, frame) in slices.iter_mut().zip(self.writing.iter()) {
            *slice = IoSlice::new(frame.frame());
        }
        self.stream.poll_write_vectored(cx, &slices[..count])
    }

    /// Removes `n` written bytes from the queue, and returns the weight of the completed frames.
    fn advance(&mut self, mut n: usize) -> usize {
        let mut weight = 0;
        while let Some(front) = self.writing.first_mut() {
            let length = front.frame().len();
            if n < length {
                front.advance(n);
                self.begun |= n > 0;
                break;
            }
            n -= length;
            weight += front.len();
            self.writing.pop();
            self.begun = false;
            if n == 0 {
                break;
            }
        }
        weight
    }

    /// Writes the queue and a close frame, shuts down this direction of the stream, and waits until the peer
    /// shuts down its own, so that no reset destroys data in flight (RFC 6455, section 7.1.1).
    ///
    /// This runs in a task of its own, for a limited time. Until it is done the stream counts as an HTTP
    /// connection of `address`. If there is no room for one more, the stream is closed at once.
    pub(crate) fn finish(
        mut self: Box<Self>,
        server: &Arc<Shared>,
        address: IpAddr,
        told: Option<(u16, &str)>,
    ) {
        let admission = &server.config.admission;
        let Some(counted) = admission.admit_connection_if_room(address) else {
            return;
        };
        // Further input is ignored.
        self.decoder = ws::Decoder::new(ws::Role::Server, 0);
        self.unread = None;
        // A client that gets a code is expected to reconnect. If its library hides close frames, only the end
        // of the stream makes it reconnect at once.
        if !(self.ignores_close && told.is_some()) {
            let (code, reason) = told.unzip();
            self.push(Outgoing::added(ws::close_frame(code, reason.unwrap_or_default())));
        }
        let silence = Duration::from_millis(server.config.close_timeout_ms.into());
        let leaving = server.leaving();
        tokio::spawn(async move {
            let _counted = (counted, leaving);
            let mut ended = false;
            linger(silence, |cx, moved| self.poll_end(cx, &mut ended, moved)).await;
        });
    }

    /// Writes the rest, shuts down this direction (`ended`), and meanwhile discards input. Otherwise a peer
    /// that writes everything before it reads would wait for the server while the server waits for it.
    fn poll_end(&mut self, cx: &mut Context<'_>, ended: &mut bool, moved: &mut bool) -> Poll<()> {
        if !*ended {
            let written = match self.poll_write(cx, &mut 0) {
                Poll::Ready(Ok(())) => self.stream.poll_shutdown(cx),
                other => other,
            };
            match written {
                Poll::Ready(Ok(())) => *ended = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        poll_discard(|cx, buf| self.stream.poll_read(cx, buf), cx, moved)
    }
}

/// Copies the rest of a chunk; `None` if it is empty.
fn boxed(rest: &[u8]) -> Option<Box<BytesMut>> {
    (!rest.is_empty()).then(|| Box::new(BytesMut::from(rest)))
}

/// Why a WebSocket cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WebSocketError {
    /// The peer ended the stream.
    Ended,
    /// Reading the stream failed.
    Failed,
    /// The peer broke the framing rules. The close frame has this code.
    Frame(u16),
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use mynah_wire::engine::{Dialect, Protocol, Reads};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// A WebSocket whose stream buffers `buffer` bytes, and the peer's end of the stream.
    fn websocket(buffer: usize) -> (WebSocket, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(buffer);
        (
            WebSocket::new(RawStream::Other(Box::new(ours)), &[], 1_000, false),
            theirs,
        )
    }

    fn ping(n: u8) -> Vec<u8> {
        ws::masked_frame(ws::Opcode::Ping, &[n], [1, 2, 3, 4])
    }

    #[tokio::test]
    async fn written_frames_release_the_weight_that_they_were_queued_with() {
        let (mut websocket, mut peer) = websocket(100);
        let mut cx = Context::from_waker(Waker::noop());
        peer.write_all(&ping(1)).await.unwrap();
        let (mut written, mut packet_weight) = (0, 0);
        for _ in 0..4 {
            // Written as base64, the packet is longer than it was in the queue.
            let mut packet = Outgoing::binary(&[b'x'; 28]);
            packet_weight = packet.len();
            let dialect = Dialect {
                reads: Reads::Text,
                eio2: false,
            };
            packet.fit_websocket(Protocol::V4, dialect, false);
            websocket.push(packet);
            let read = websocket.poll_messages(&mut cx, |_| Poll::Pending);
            assert!(read.is_pending());
        }
        assert!(websocket.poll_write(&mut cx, &mut written).is_pending());
        assert_eq!(
            written,
            2 * packet_weight,
            "two frames and a pong are written, and the third in part"
        );
        peer.read_exact(&mut [0; 100]).await.unwrap();
        assert!(websocket.poll_write(&mut cx, &mut written).is_ready());
        assert_eq!(written, 4 * packet_weight);
        assert!(!websocket.is_writing());
    }

    #[tokio::test]
    async fn only_the_latest_pong_is_queued() {
        let (mut websocket, mut peer) = websocket(1_000);
        let mut cx = Context::from_waker(Waker::noop());
        websocket.push(Outgoing::message("frame"));
        for n in 0..100 {
            peer.write_all(&ping(n)).await.unwrap();
        }
        assert!(websocket.poll_messages(&mut cx, |_| Poll::Pending).is_pending());
        assert!(websocket.poll_write(&mut cx, &mut 0).is_ready());
        let mut came = [0; 11];
        peer.read_exact(&mut came).await.unwrap();
        assert_eq!(came, *b"\x81\x064frame\x8a\x01\x63");
    }

    #[tokio::test]
    async fn bytes_after_the_last_handled_message_are_kept() {
        let (mut websocket, mut peer) = websocket(1_000);
        let mut cx = Context::from_waker(Waker::noop());
        for n in 0..5 {
            let frame = ws::masked_frame(ws::Opcode::Binary, &[n], [1, 2, 3, 4]);
            // The last frame is written in part.
            peer.write_all(&frame[..frame.len() - usize::from(n == 4)])
                .await
                .unwrap();
        }
        for n in 0..4 {
            let stopped = websocket.poll_messages(&mut cx, |message| {
                assert_eq!(message, ws::Message::Binary(&[n]));
                Poll::Ready(())
            });
            assert!(stopped.is_ready());
        }
        assert!(
            websocket
                .poll_messages(&mut cx, |_| unreachable!("the rest has not arrived"))
                .is_pending()
        );
        assert!(websocket.unread.is_none());
    }
}
