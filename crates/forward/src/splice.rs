//! Copies bytes between two streams, in both directions.
//!
//! Invariants: while the receiver of a direction accepts no more, nothing further is read for it. A splice
//! that copies nothing holds no buffer. When one peer has ended its direction, the other one is told so, and
//! the splice ends soon after.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mynah_front::RawStream;
use tokio::io::ReadBuf;
use tokio::time::timeout;

/// The bytes that one call reads, and the most that a direction holds.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// The two streams of a WebSocket, once they have switched protocols.
pub(crate) struct Splice {
    pub(crate) client: OnUpgrade,
    pub(crate) node: OnUpgrade,
    /// The longest time in which nothing is copied although bytes wait, or although one peer has ended its
    /// direction.
    pub(crate) stall: Duration,
}

impl Splice {
    /// Copies until both directions have ended, one of them fails, or a peer stalls.
    pub(crate) async fn run(self) {
        let Some((client, from_client)) = RawStream::take(self.client).await else {
            return;
        };
        let Ok(node) = self.node.await else { return };
        let Ok(node) = node.downcast::<TokioIo<RawStream>>() else {
            // The connection was made of such a stream.
            return;
        };
        let streams = [client, node.io.into_inner()];
        copy(streams, [from_client, node.read_buf], self.stall).await;
    }
}

/// One direction.
struct Flow {
    /// Bytes that were read and not written.
    rest: Bytes,
    /// Whether the receiver may buffer something that was written.
    flush: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Copies,
    /// The sender has ended the direction.
    Ends,
    /// The receiver was told so.
    Ended,
}

impl Flow {
    fn new(rest: Bytes) -> Self {
        Self {
            rest,
            flush: false,
            stage: Stage::Copies,
        }
    }

    /// Whether the receiver has to do something before more is read.
    fn is_blocked(&self) -> bool {
        !self.rest.is_empty() || self.stage == Stage::Ends
    }

    /// Copies as much as possible, and sets `moved` if that is anything. Ready once the direction has ended.
    fn poll(
        &mut self,
        [from, to]: [&mut RawStream; 2],
        cx: &mut Context<'_>,
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        while self.stage != Stage::Ended {
            while !self.rest.is_empty() {
                let n = ready!(to.poll_write(cx, &self.rest))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.rest.advance(n);
                (self.flush, *moved) = (true, true);
            }
            // An empty part of a buffer would keep the whole buffer.
            self.rest = Bytes::new();
            if self.stage == Stage::Ends {
                ready!(to.poll_shutdown(cx))?;
                self.stage = Stage::Ended;
                *moved = true;
                break;
            }
            if self.poll_read(from, to, cx)?.is_pending() {
                if self.flush {
                    ready!(to.poll_flush(cx))?;
                    self.flush = false;
                }
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes at once what the receiver accepts, so that usually nothing is kept.
    fn poll_read(
        &mut self,
        from: &mut RawStream,
        to: &mut RawStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        READ.with_borrow_mut(|space| {
            let mut buf = ReadBuf::new(space);
            ready!(from.poll_read(cx, &mut buf))?;
            let read = buf.filled();
            if read.is_empty() {
                self.stage = Stage::Ends;
                return Poll::Ready(Ok(()));
            }
            let written = match to.poll_write(cx, read) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.flush |= written > 0;
            self.rest = Bytes::copy_from_slice(&read[written..]);
            Poll::Ready(Ok(()))
        })
    }
}

/// Copies between two streams. `early` are bytes that have already been read from each of them.
async fn copy(streams: [RawStream; 2], early: [Bytes; 2], stall: Duration) {
    let [mut a, mut b] = streams;
    let [mut forth, mut back] = early.map(Flow::new);
    let mut limited = false;
    loop {
        let step = poll_fn(|cx| {
            let mut moved = false;
            let there = forth.poll([&mut a, &mut b], cx, &mut moved)?;
            let return_ = back.poll([&mut b, &mut a], cx, &mut moved)?;
            if there.is_ready() && return_.is_ready() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let one_ended = forth.stage != Stage::Copies || back.stage != Stage::Copies;
            let must_move = one_ended || forth.is_blocked() || back.is_blocked();
            // The time begins again after each progress.
            match must_move == limited && !(moved && limited) {
                true => Poll::Pending,
                false => Poll::Ready(io::Result::Ok(must_move)),
            }
        });
        let stepped = if limited {
            timeout(stall, step)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        } else {
            step.await
        };
        match stepped {
            Ok(must_move) => limited = must_move,
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::task::JoinHandle;

    use super::*;

    const STALL: Duration = Duration::from_secs(45);

    /// Both peers of a splice whose streams buffer `buffer` bytes.
    fn spliced(buffer: usize, early: [&'static str; 2]) -> (DuplexStream, DuplexStream, JoinHandle<()>) {
        let ((a, a_peer), (b, b_peer)) = (tokio::io::duplex(buffer), tokio::io::duplex(buffer));
        let streams = [a, b].map(|stream| RawStream::Other(Box::new(stream)));
        let early = early.map(|text| Bytes::from_static(text.as_bytes()));
        (a_peer, b_peer, tokio::spawn(copy(streams, early, STALL)))
    }

    async fn read(peer: &mut DuplexStream, length: usize) -> String {
        let mut space = vec![0; length];
        peer.read_exact(&mut space).await.unwrap();
        String::from_utf8(space).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn copies_in_both_directions_what_came_early_first() {
        let (mut a, mut b, _splice) = spliced(100, ["early a ", "early b "]);
        a.write_all(b"from a").await.unwrap();
        b.write_all(b"from b").await.unwrap();
        assert_eq!(read(&mut b, 14).await, "early a from a");
        assert_eq!(read(&mut a, 14).await, "early b from b");
    }

    #[tokio::test(start_paused = true)]
    async fn large_data_arrives_whole_at_a_slow_reader() {
        let (mut a, mut b, splice) = spliced(10, ["", ""]);
        let sent: String = (0..20_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
        let expected = sent.clone();
        tokio::spawn(async move {
            a.write_all(sent.as_bytes()).await.unwrap();
            a.shutdown().await.unwrap();
            // Keeps the other direction open until its end.
            let _ = a.read_to_end(&mut Vec::new()).await;
        });
        let mut got = String::new();
        let mut space = [0; 7];
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let n = b.read(&mut space).await.unwrap();
            if n == 0 {
                break;
            }
            got += std::str::from_utf8(&space[..n]).unwrap();
        }
        assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
        drop(b);
        splice.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_waits_for_the_reader() {
        let (mut a, _b, _splice) = spliced(10, ["", ""]);
        let written = async {
            let mut written = 0;
            loop {
                written += a.write(&[0; 10]).await.unwrap();
                if written > 10 + READ_BYTES + 10 {
                    return;
                }
            }
        };
        let waited = timeout(STALL / 2, written).await;
        assert!(
            waited.is_err(),
            "more was accepted than the streams and a direction can hold"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_direction_can_end_before_the_other() {
        let (mut a, mut b, splice) = spliced(100, ["", ""]);
        a.shutdown().await.unwrap();
        assert_eq!(b.read(&mut [0; 1]).await.unwrap(), 0);
        b.write_all(b"the last words").await.unwrap();
        assert_eq!(read(&mut a, 14).await, "the last words");
        drop(b);
        assert_eq!(a.read(&mut [0; 1]).await.unwrap(), 0);
        splice.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stalls_is_given_up_and_an_idle_one_is_not() {
        let (mut a, mut b, splice) = spliced(10, ["", ""]);
        tokio::time::sleep(100 * STALL).await;
        a.write_all(b"late").await.unwrap();
        assert_eq!(read(&mut b, 4).await, "late");
        tokio::time::sleep(100 * STALL).await;
        assert!(!splice.is_finished());
        a.write_all(&[0; 20]).await.unwrap();
        splice.await.unwrap();
        // The same holds for a peer that does not end its own direction.
        let (mut a, mut b, splice) = spliced(10, ["", ""]);
        a.shutdown().await.unwrap();
        assert_eq!(b.read(&mut [0; 1]).await.unwrap(), 0);
        splice.await.unwrap();
        assert!(b.write_all(b"x").await.is_err());
    }
}
