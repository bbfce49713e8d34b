//! The header of the PROXY protocol, in which a proxy sends the address of the client for which it connects:
//! version 2 (binary) and version 1 (a line of text), as HAProxy describes them (proxy-protocol.txt).
//!
//! Invariant: no byte after the header is read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The first bytes of a header of version 2.
pub(crate) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of the longest header of version 1, with its line break, in bytes.
pub(crate) const LONGEST_LINE: usize = 107;
/// The maximum size of the addresses and further fields of version 2, in bytes. Proxies send a few hundred.
pub(crate) const MOST_FIELDS: usize = 4_096;

/// Why a header cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// There is no header, or it is malformed.
    #[error("{0}")]
    Malformed(&'static str),
    /// The connection has failed or ended.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The stream that the header is read from.
pub(crate) trait Source {
    /// Fills `buf`, or fails at the end of the stream.
    fn read_exact(&mut self, buf: &mut [u8]) -> impl Future<Output = io::Result<()>> + Send;
    /// Copies the bytes that have arrived without consuming them. Returns 0 at the end of the stream.
    fn peek(&mut self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Source for TcpStream {
    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        AsyncReadExt::read_exact(self, buf).await.map(drop)
    }

    async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Self::peek(self, buf).await
    }
}

/// Reads the header of a connection and returns the client's address. `None` if the proxy connects on its own
/// behalf (a health check) or for a client without an IP address.
pub(crate) async fn read(stream: &mut impl Source) -> Result<Option<SocketAddr>, HeaderError> {
    // The header of either version is longer than this.
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if length > MOST_FIELDS {
            return Err(HeaderError::Malformed("its fields are too long"));
        }
        let mut fields = vec![0; length];
        stream.read_exact(&mut fields).await?;
        return version_2(head[0], head[1], &fields);
    }
    if !start.starts_with(b"PROXY ") || start.contains(&b'\n') {
        return Err(HeaderError::Malformed("it is missing"));
    }
    let mut line = [0; LONGEST_LINE];
    let mut length = start.len();
    line[..length].copy_from_slice(&start);
    while line[length - 1] != b'\n' {
        if length == LONGEST_LINE {
            return Err(HeaderError::Malformed("its line is too long"));
        }
        let there = stream.peek(&mut line[length..]).await?;
        if there == 0 {
            return Err(HeaderError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let rest = &line[length..length + there];
        let ours = rest.iter().position(|&b| b == b'\n').map_or(there, |end| end + 1);
        stream.read_exact(&mut line[length..length + ours]).await?;
        length += ours;
    }
    version_1(&line[..length])
}

fn version_2(command: u8, family: u8, fields: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    const ADDRESSES_ARE_SHORT: HeaderError = HeaderError::Malformed("its addresses are too short");
    match command {
        // The command LOCAL: the proxy connects on its own behalf.
        0x20 => return Ok(None),
        // The command PROXY.
        0x21 => {}
        _ => return Err(HeaderError::Malformed("its version or command is unknown")),
    }
    match family {
        // TCP over IPv4: source, destination, and their ports.
        0x11 => {
            let fields: &[u8; 12] = fields.first_chunk().ok_or(ADDRESSES_ARE_SHORT)?;
            let [a, b, c, d, .., high, low, _, _] = *fields;
            Ok(Some(source(Ipv4Addr::new(a, b, c, d).into(), [high, low])))
        }
        // TCP over IPv6.
        0x21 => {
            let fields: &[u8; 36] = fields.first_chunk().ok_or(ADDRESSES_ARE_SHORT)?;
            let mut address = [0; 16];
            address.copy_from_slice(&fields[..16]);
            Ok(Some(source(
                Ipv6Addr::from(address).into(),
                [fields[32], fields[33]],
            )))
        }
        // The family is unspecified, or a Unix socket.
        0x00 | 0x31 => Ok(None),
        _ => Err(HeaderError::Malformed("its addresses are not of TCP")),
    }
}

fn source(address: IpAddr, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), u16::from_be_bytes(port))
}

fn version_1(line: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    const MALFORMED_LINE: HeaderError = HeaderError::Malformed("its line is malformed");
    let line = line.strip_suffix(b"\r\n").ok_or(MALFORMED_LINE)?;
    let text = std::str::from_utf8(line).map_err(|_| MALFORMED_LINE)?;
    let words: Vec<&str> = text.split(' ').collect();
    let ["PROXY", family, words @ ..] = words.as_slice() else {
        return Err(MALFORMED_LINE);
    };
    if *family == "UNKNOWN" {
        return Ok(None);
    }
    let [from, to, from_port, to_port] = words else {
        return Err(MALFORMED_LINE);
    };
    let parsed = || {
        let (from, to): (IpAddr, IpAddr) = (from.parse().ok()?, to.parse().ok()?);
        let (port, _): (u16, u16) = (from_port.parse().ok()?, to_port.parse().ok()?);
        let fits = match *family {
            "TCP4" => from.is_ipv4() && to.is_ipv4(),
            "TCP6" => from.is_ipv6() && to.is_ipv6(),
            _ => false,
        };
        fits.then_some(SocketAddr::new(from.to_canonical(), port))
    };
    parsed().map(Some).ok_or(MALFORMED_LINE)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Sends `bytes` in two parts, which are separated at `split`, and more bytes after them. Returns what
    /// the header says, after checking that the other bytes can still be read.
    async fn said(bytes: &[u8], split: usize) -> Result<Option<String>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let writing = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The reader may have closed the connection.
            let _ = stream.write_all(&bytes[..split]).await;
            tokio::task::yield_now().await;
            let _ = stream.write_all(&bytes[split..]).await;
            let _ = stream.write_all(b"behind").await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let reading = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let said = read(&mut stream).await;
            if said.is_ok() {
                let mut behind = String::new();
                stream.read_to_string(&mut behind).await.unwrap();
                assert_eq!(behind, "behind", "not a byte too many was read");
            }
            said.map(|address| address.map(|address| address.to_string()))
                .map_err(|wrong| wrong.to_string())
        };
        tokio::join!(writing, reading).1
    }

    fn binary(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = (fields.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, fields].concat()
    }

    const V4: [u8; 12] = [198, 51, 100, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    fn v6(source: &str) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        [&source.octets()[..], &[0; 16], &[0x12, 0x34, 0, 80]].concat()
    }

    #[tokio::test]
    async fn addresses_are_read_however_the_header_is_split() {
        let with_more = [&V4[..], &[4, 0, 2, 1, 2]].concat();
        for (bytes, expected) in [
            (binary(0x21, 0x11, &V4), Some("198.51.100.7:4660")),
            (binary(0x21, 0x11, &with_more), Some("198.51.100.7:4660")),
            (binary(0x21, 0x21, &v6("2001:db8::7")), Some("[2001:db8::7]:4660")),
            (
                binary(0x21, 0x21, &v6("::ffff:198.51.100.7")),
                Some("198.51.100.7:4660"),
            ),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &V4), None),
            (binary(0x21, 0x00, &[1, 2, 3]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
            (
                b"PROXY TCP4 198.51.100.7 10.0.0.1 4660 80\r\n".to_vec(),
                Some("198.51.100.7:4660"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 4660 80\r\n".to_vec(),
                Some("[2001:db8::7]:4660"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n".to_vec(), None),
        ] {
            let expected = Ok(expected.map(str::to_owned));
            for split in [0, 5, 12, 14, bytes.len() - 1, bytes.len()] {
                assert_eq!(
                    said(&bytes, split.min(bytes.len())).await,
                    expected,
                    "{bytes:?} {split}"
                );
            }
        }
    }

    #[tokio::test]
    async fn malformed_headers_are_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200));
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"\r\n\r\n\0\r\nQUIT!...............".to_vec(),
            binary(0x11, 0x11, &V4),
            binary(0x22, 0x11, &V4),
            binary(0x21, 0x11, &V4[..11]),
            binary(0x21, 0x21, &V4),
            binary(0x21, 0x12, &V4),
            binary(0x21, 0x41, &V4),
            binary(0x21, 0x11, &[0; MOST_FIELDS + 1]),
            b"PROXY TCP4 198.51.100.7 10.0.0.1 4660 80\n".to_vec(),
            b"PROXY TCP4 198.51.100.7 10.0.0.1 4660\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.7 10.0.0.1 4660 80 90\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.7  10.0.0.1 4660 80\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 4660 80\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.7 10.0.0.1 66000 80\r\n".to_vec(),
            b"PROXY TCP5 198.51.100.7 10.0.0.1 4660 80\r\n".to_vec(),
            b"PROXY \xff\xff\xff\xff\xff\xff\xff\r\n".to_vec(),
            b"PROXY X\r\nGET / HTTP/1.1\r\n".to_vec(),
            long.into_bytes(),
        ] {
            assert!(
                said(&bytes, bytes.len()).await.is_err(),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    /// Wherever the header is cut off, reading ends with an error and does not hang.
    #[tokio::test]
    async fn a_truncated_header_is_an_error() {
        for whole in [
            binary(0x21, 0x11, &V4),
            b"PROXY TCP4 1.1.1.1 1.1.1.2 1 2\r\n".to_vec(),
        ] {
            for length in 0..whole.len() {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (mut stream, _) = listener.accept().await.unwrap();
                client.write_all(&whole[..length]).await.unwrap();
                drop(client);
                assert!(
                    matches!(read(&mut stream).await, Err(HeaderError::Io(_))),
                    "{length}"
                );
            }
        }
    }
}
