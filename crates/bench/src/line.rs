//! One connection, with incomplete input and unwritten output.

use std::io::{self, ErrorKind, Write};

use mio::net::TcpStream;

/// A socket with the data that is incomplete or unwritten.
pub(crate) struct Line {
    /// The socket.
    pub(crate) stream: TcpStream,
    /// The start of an incomplete frame or response.
    pub(crate) rest: Vec<u8>,
    unwritten: Vec<u8>,
}

impl Line {
    /// A connection that has started to connect.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            rest: Vec::new(),
            unwritten: Vec::new(),
        }
    }

    /// Writes what the socket accepts, and keeps the rest until it is writable.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = if self.unwritten.is_empty() {
            self.write(bytes)?
        } else {
            0
        };
        self.unwritten.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes the data that was kept.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if !self.unwritten.is_empty() {
            let kept = std::mem::take(&mut self.unwritten);
            let written = self.write(&kept)?;
            self.unwritten.extend_from_slice(&kept[written..]);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(count) => written += count,
                // The first call on a new connection for API calls waits until it is connected.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }
}
