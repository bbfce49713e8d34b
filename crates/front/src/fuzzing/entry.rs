//! Checks the code that reads from a connection before hyper gets it. The bytes arrive in pieces, whose size
//! is the first byte of the input.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::at_once;
use crate::listener::first::{self, HeadEnd};
use crate::listener::target;
use crate::proxy_header::{self, LONGEST_LINE, MOST_FIELDS, SIGNATURE, Source};

/// Bytes that arrive in pieces of `size`, and then the end.
struct Pieces<'a> {
    bytes: &'a [u8],
    at: usize,
    size: usize,
}

impl<'a> Pieces<'a> {
    fn new(bytes: &'a [u8], size: usize) -> Self {
        Self { bytes, at: 0, size }
    }

    /// The bytes that a reader with room for `room` bytes gets.
    fn next(&self, room: usize) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        &rest[..rest.len().min(room).min(self.size)]
    }
}

impl Source for Pieces<'_> {
    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..buf.len()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        buf.copy_from_slice(taken);
        self.at += taken.len();
        Ok(())
    }

    async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let next = self.next(buf.len());
        buf[..next.len()].copy_from_slice(next);
        Ok(next.len())
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pieces = self.get_mut();
        let next = pieces.next(buf.remaining());
        buf.put_slice(next);
        pieces.at += next.len();
        Poll::Ready(Ok(()))
    }
}

fn size_and_bytes(data: &[u8]) -> Option<(usize, &[u8])> {
    let (size, bytes) = data.split_first()?;
    Some((usize::from(*size).max(1), bytes))
}

/// The header of the PROXY protocol.
pub(super) fn proxy_header(data: &[u8]) {
    let Some((size, bytes)) = size_and_bytes(data) else {
        return;
    };
    let read = |size| {
        let mut pieces = Pieces::new(bytes, size);
        let said = at_once(proxy_header::read(&mut pieces)).map_err(|wrong| wrong.to_string());
        (said, pieces.at)
    };
    let (said, taken) = read(usize::MAX);
    let in_pieces = read(size);
    // The pieces do not change the result, only how soon an error is found.
    assert_eq!(in_pieces.0, said);
    assert!(taken <= (16 + MOST_FIELDS).max(LONGEST_LINE));
    let Ok(client) = said else { return };
    assert_eq!(in_pieces.1, taken);
    assert!(client.is_none_or(|client| client.ip() == client.ip().to_canonical()));
    if bytes.starts_with(SIGNATURE) {
        let length = u16::from_be_bytes([bytes[14], bytes[15]]);
        assert_eq!(
            taken,
            16 + usize::from(length),
            "the header, and no byte after it"
        );
        if let Some(client) = client {
            assert_eq!(bytes[12], 0x21, "only the command PROXY names a client");
            let (address, port) = match client.ip() {
                IpAddr::V4(address) if bytes[13] == 0x11 => (address.octets().to_vec(), 24),
                IpAddr::V4(address) => (address.to_ipv6_mapped().octets().to_vec(), 48),
                IpAddr::V6(address) => (address.octets().to_vec(), 48),
            };
            assert_eq!(bytes[16..16 + address.len()], address);
            assert_eq!(bytes[port..port + 2], client.port().to_be_bytes());
        }
    } else {
        let line = std::str::from_utf8(&bytes[..taken]).expect("a line is text");
        assert!(
            line.ends_with("\r\n") && line.matches('\n').count() == 1,
            "{line:?}"
        );
        assert!(line.starts_with("PROXY "), "{line:?}");
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        assert_eq!(client.is_none(), words[1] == "UNKNOWN", "{line:?}");
        if let Some(client) = client {
            let address: IpAddr = words[2].parse().expect("an address");
            let port = words[4].parse().expect("a port");
            assert_eq!(client, SocketAddr::new(address.to_canonical(), port), "{line:?}");
        }
    }
}

/// The head of a connection's first request: no byte is lost, the reader does not wait after a complete head,
/// and an invalid one is left to hyper.
pub(super) fn head(data: &[u8]) {
    const MOST: usize = 300;
    let Some((size, bytes)) = size_and_bytes(data) else {
        return;
    };
    let mut pieces = Pieces::new(bytes, size);
    let head = at_once(first::head(&mut pieces, MOST)).expect("no piece fails");
    assert_eq!(head, bytes[..pieces.at]);
    let whole = |head: &[u8]| {
        head.windows(2).any(|end| end == b"\n\n") || head.windows(3).any(|end| end == b"\n\r\n")
    };
    let enough =
        |head: &[u8]| head.len() >= MOST || whole(head) || !head.first().is_some_and(u8::is_ascii_alphabetic);
    // The offset of the last piece.
    let last = head.len().saturating_sub(1) / size * size;
    assert!(
        last == 0 || !enough(&head[..last]),
        "the previous piece was enough"
    );
    assert!(
        enough(&head) || pieces.at == bytes.len(),
        "more bytes were available"
    );
    let line = HeadEnd::default().request_line(&head);
    if let Some(escaped) = target::escaped(&head, line.clone()) {
        let again = HeadEnd::default().request_line(&escaped);
        assert_eq!(
            target::escaped(&escaped, again),
            None,
            "nothing is left to escape"
        );
        let raw = head[line.clone()]
            .iter()
            .filter(|byte| b"\"<>".contains(byte))
            .count();
        assert_eq!(escaped.len(), head.len() + 2 * raw);
        assert!(
            escaped.starts_with(&head[..line.start]),
            "the bytes before the request line stay the same"
        );
        assert!(
            escaped.ends_with(&head[line.end..]),
            "the bytes after the request line stay the same"
        );
    }
}
