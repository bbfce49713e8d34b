//! Runs rustls on the buffers that it is given, and collects what rustls wants to send. There is no socket
//! here: bytes go in, and bytes come out.
//!
//! Invariants: bytes that rustls did not consume are given to it again unchanged. rustls is not called any
//! more after it has failed, nor after the server has sent `close_notify`, by which a side says that it sends
//! nothing more: rustls would then try to answer a malformed record, and report that as an error of its
//! caller.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};

/// A rustls connection, and the ciphertext that it wants to send.
pub(crate) struct Records {
    tls: UnbufferedServerConnection,
    /// Ciphertext that waits for the socket.
    pub(crate) outgoing: BytesMut,
    /// Whether rustls has failed and must not be called any more.
    failed: bool,
    /// Whether the peer sends nothing more: it has sent `close_notify` or ended the stream.
    pub(crate) ended: bool,
    /// Whether the server has ended its direction. Bytes that still arrive are discarded.
    closed: bool,
}

impl Records {
    pub(crate) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            outgoing: BytesMut::new(),
            failed: false,
            ended: false,
            closed: false,
        })
    }

    /// Lets rustls process the records in `space[..*filled]`, and moves the bytes that it still needs to the
    /// front. Returns true when the handshake is complete.
    pub(crate) fn process(
        &mut self,
        space: &mut [u8],
        filled: &mut usize,
        plain: &mut BytesMut,
    ) -> io::Result<bool> {
        if self.failed {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.closed {
            *filled = 0;
            return Ok(true);
        }
        let mut from = 0;
        let processed = loop {
            match self.step(&mut space[from..*filled], plain) {
                Ok((used, Step::Again)) => from += used,
                Ok((used, Step::Wait { done })) => {
                    from += used;
                    break Ok(done);
                }
                Err(error) => {
                    // rustls has an alert to send. It does not look at records while it has something to
                    // encode, so it needs none here.
                    self.failed = true;
                    while self.tls.wants_write() && self.step(&mut [], plain).is_ok() {}
                    return Err(error);
                }
            }
        };
        space.copy_within(from..*filled, 0);
        *filled -= from;
        processed
    }

    /// Performs one step of rustls. Returns the number of bytes at the front that were consumed, and what to
    /// do next.
    fn step(&mut self, records: &mut [u8], plain: &mut BytesMut) -> io::Result<(usize, Step)> {
        let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(records);
        let state = state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let step = match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
                Step::Again
            }
            ConnectionState::EncodeTlsData(mut data) => {
                encode(&mut data, &mut self.outgoing)?;
                Step::Again
            }
            // The bytes are in `outgoing`, and are sent in their order when the socket accepts them.
            ConnectionState::TransmitTlsData(transmit) => {
                transmit.done();
                Step::Again
            }
            ConnectionState::PeerClosed => {
                self.ended = true;
                Step::Again
            }
            ConnectionState::WriteTraffic(_) => Step::Wait { done: true },
            ConnectionState::Closed => {
                self.ended = true;
                Step::Wait { done: true }
            }
            ConnectionState::BlockedHandshake => Step::Wait { done: false },
            // The remaining state is early data, which the server never offers.
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok((discard, step))
    }

    /// Encrypts `bytes` into `sealed`. `incoming` is the beginning of a record: rustls must see the same
    /// bytes in each call.
    pub(crate) fn encrypt(
        &mut self,
        incoming: &mut Vec<u8>,
        plain: &mut BytesMut,
        bytes: &[u8],
        sealed: &mut [u8],
    ) -> io::Result<usize> {
        let mut filled = incoming.len();
        let processed = self.process(incoming, &mut filled, plain);
        incoming.truncate(filled);
        processed?;
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.tls.process_tls_records(incoming).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                traffic.encrypt(bytes, sealed).map_err(io::Error::other)
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Ends the server's direction. Queues `close_notify`, unless rustls has failed.
    pub(crate) fn close(&mut self, incoming: &mut Vec<u8>, plain: &mut BytesMut) {
        let mut filled = incoming.len();
        let whole = !self.closed && self.process(incoming, &mut filled, plain).is_ok();
        incoming.truncate(filled);
        self.closed = true;
        if whole
            && let Ok(ConnectionState::WriteTraffic(mut traffic)) =
                self.tls.process_tls_records(incoming).state
        {
            let mut sealed = [0; 256];
            // If this fails, the peer learns only from the end of the TCP stream that nothing follows.
            if let Ok(n) = traffic.queue_close_notify(&mut sealed) {
                self.outgoing.extend_from_slice(&sealed[..n]);
            }
        }
    }
}

/// What to do after a step.
enum Step {
    /// Perform another step.
    Again,
    /// Wait for more bytes. `done` says whether the handshake is complete.
    Wait { done: bool },
}

fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut BytesMut) -> io::Result<()> {
    let at = outgoing.len();
    match data.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(needed)) => outgoing.resize(at + needed.required_size, 0),
        Err(error) => return Err(io::Error::other(error)),
    }
    let n = data.encode(&mut outgoing[at..]).map_err(io::Error::other)?;
    outgoing.truncate(at + n);
    Ok(())
}
