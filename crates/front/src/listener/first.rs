//! Reads the head of a connection's first request before hyper gets the connection.
//!
//! hyper allocates about 20 KiB for a connection as soon as it is asked to read. Invariant: a connection that
//! has not sent a complete head holds only the bytes that it has sent.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// The bytes that one call reads.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Reads until there is a complete head, or something that hyper refuses at once: bytes that are not a
/// request, or `most` bytes. Bytes that arrived after the head are returned too. The result is empty if the
/// connection ended before it sent anything.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Bytes> {
    let mut head = Vec::new();
    loop {
        let looked_at = head.len();
        poll_fn(|cx| {
            READ.with_borrow_mut(|space| {
                let mut buf = ReadBuf::new(space);
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
                head.extend_from_slice(buf.filled());
                Poll::Ready(io::Result::Ok(()))
            })
        })
        .await?;
        let ended = head.len() == looked_at;
        if ended || head.len() >= most || !is_begun(&head) || is_whole(&head, looked_at) {
            return Ok(head.into());
        }
    }
}

/// Whether this can be the beginning of a request. A request begins with the letters of a method.
fn is_begun(head: &[u8]) -> bool {
    head.first().is_some_and(u8::is_ascii_alphabetic)
}

/// Finds the empty line that ends a head, in parts as they arrive. Like hyper, it accepts lines without CR,
/// and empty lines before a head.
#[derive(Debug, Default)]
pub(crate) struct HeadEnd {
    request_line: RequestLine,
    line: Line,
}

/// Whether the request line, the first line of a head, has arrived.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum RequestLine {
    #[default]
    NotBegun,
    Begun,
    Ended,
}

/// What has arrived of the current line.
#[derive(Debug, Default, Clone, Copy)]
enum Line {
    #[default]
    Nothing,
    Cr,
    Something,
}

impl HeadEnd {
    /// Returns where in `part` the head ends: after the empty line. The bytes after it are not examined; the
    /// next call begins with another head.
    pub(crate) fn find(&mut self, part: &[u8]) -> Option<usize> {
        let first = self.request_line(part).start;
        let mut begin = first;
        if begin < part.len() && !self.is_begun() {
            self.request_line = RequestLine::Begun;
        }
        for end in memchr::memchr_iter(b'\n', part).skip_while(|end| *end < first) {
            let line = std::mem::take(&mut self.line);
            if let (Line::Nothing, [] | [b'\r']) | (Line::Cr, []) = (line, &part[begin..end]) {
                self.request_line = RequestLine::NotBegun;
                return Some(end + 1);
            }
            self.request_line = RequestLine::Ended;
            begin = end + 1;
        }
        self.line = match (self.line, &part[begin..]) {
            (line, []) => line,
            (Line::Nothing, [b'\r']) => Line::Cr,
            _ => Line::Something,
        };
        None
    }

    /// The range of `part`, the next bytes, that belongs to the request line.
    pub(crate) fn request_line(&self, part: &[u8]) -> Range<usize> {
        let begin = match self.request_line {
            RequestLine::NotBegun => part.iter().position(|byte| !matches!(byte, b'\r' | b'\n')),
            RequestLine::Begun => Some(0),
            RequestLine::Ended => return 0..0,
        };
        let begin = begin.unwrap_or(part.len());
        begin..memchr::memchr(b'\n', &part[begin..]).map_or(part.len(), |end| begin + end)
    }

    /// Whether a head has begun and not ended.
    pub(crate) fn is_begun(&self) -> bool {
        self.request_line != RequestLine::NotBegun
    }
}

/// Whether the head ends with an empty line. Its first `looked_at` bytes contain none.
fn is_whole(head: &[u8], looked_at: usize) -> bool {
    let new = &head[looked_at.saturating_sub(3)..];
    new.windows(2).any(|end| end == b"\n\n") || new.windows(3).any(|end| end == b"\n\r\n")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Sends `parts` one after the other until the head has been read. Returns what was read, and how many
    /// parts were not sent.
    async fn read(parts: &[&str]) -> (String, usize) {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
        let reading = tokio::spawn(async move { head(&mut ours, 1_000).await });
        let mut sent = 0;
        for part in parts {
            if reading.is_finished() {
                break;
            }
            theirs.write_all(part.as_bytes()).await.unwrap();
            sent += 1;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        drop(theirs);
        let head = reading.await.unwrap().unwrap();
        (String::from_utf8(head.to_vec()).unwrap(), parts.len() - sent)
    }

    #[tokio::test]
    async fn reading_stops_after_a_complete_head() {
        for parts in [
            &["GET / HTTP/1.1\r\n\r\n"][..],
            &["GET / HTTP/1.1\r\nHost: x\r\n\r\nbody"],
            &["G", "ET / HTTP/1.1\r\nHost: x\r\n\r", "\n"],
            &["GET / HTTP/1.1\r\nHost: x\r", "\n", "\r", "\n"],
            &["GET / HTTP/1.1\nHost: x\n", "\n"],
        ] {
            let with_more = [parts, &["more"]].concat();
            assert_eq!(read(&with_more).await, (parts.concat(), 1), "{parts:?}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_is_cut() {
        for (head, rest) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "more"),
            ("GET / HTTP/1.1\nHost: x\n\n", "\n\n"),
            ("GET / HTTP/1.1\r\n\n", ""),
            ("GET / HTTP/1.1\nX: \r\r\n\r\n", "x"),
        ] {
            let whole = [head, rest].concat().into_bytes();
            for first in 0..=whole.len() {
                for second in first..=whole.len() {
                    let mut end = HeadEnd::default();
                    let parts = [&whole[..first], &whole[first..second], &whole[second..]];
                    let mut before = 0;
                    let found = parts.iter().find_map(|part| {
                        let found = end.find(part).map(|at| before + at);
                        before += part.len();
                        found
                    });
                    assert_eq!(found, Some(head.len()), "{head:?} {first} {second}");
                }
            }
        }
        assert_eq!(HeadEnd::default().find(b"GET / HTTP/1.1\r\n\r"), None);
    }

    #[tokio::test]
    async fn reading_stops_if_the_bytes_are_not_a_head() {
        let long = "x".repeat(1_000);
        for begun in ["\u{16}\u{3}\u{1}", "\r\n", " GET", long.as_str()] {
            assert_eq!(read(&[begun, "more"]).await, (begun.to_owned(), 1));
        }
        assert_eq!(read(&[]).await, (String::new(), 0));
        assert_eq!(read(&["GET / HT"]).await, ("GET / HT".to_owned(), 0));
    }
}
