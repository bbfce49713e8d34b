//! rustls in buffers that it is given, and what it wants to be sent. No socket: bytes go in, and bytes come out.
//!
//! Invariant: rustls sees what it did not need again, the same bytes, and is asked nothing more once it failed, or once we said that we
//! send nothing more: it would answer a record that is broken, which it takes for a mistake of ours then.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};

/// rustls, and what it wants to be sent.
pub(crate) struct Session {
    tls: UnbufferedServerConnection,
    /// Ciphertext that waits for the socket.
    pub(crate) outgoing: BytesMut,
    /// It went wrong: rustls is not to be asked again.
    failed: bool,
    /// The peer will send nothing more.
    pub(crate) ended: bool,
    /// We said that we will send nothing more. What still comes is thrown away.
    closed: bool,
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            outgoing: BytesMut::new(),
            failed: false,
            ended: false,
            closed: false,
        })
    }

    /// Has rustls look at the records in `space[..*filled]`; what it still needs is left at the front. True once the handshake is done.
    pub(crate) fn turn(
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
        let turned = loop {
            match self.step(&mut space[from..*filled], plain) {
                Ok((used, Step::Again)) => from += used,
                Ok((used, Step::Wait { done })) => {
                    from += used;
                    break Ok(done);
                }
                Err(error) => {
                    // An alert. As long as there is something to encode rustls does not look at records, which have to be the same each time.
                    self.failed = true;
                    while self.tls.wants_write() && self.step(&mut [], plain).is_ok() {}
                    return Err(error);
                }
            }
        };
        space.copy_within(from..*filled, 0);
        *filled -= from;
        turned
    }

    /// One state of rustls: how many bytes at the front were used, and what is next.
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
            // It is sent in its order whenever the socket takes it.
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
            // Early data is never offered.
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok((discard, step))
    }

    /// Encrypts `bytes` into `sealed`. `incoming` is what waits for the rest of its record: rustls has to see the same bytes each time.
    pub(crate) fn encrypt(
        &mut self,
        incoming: &mut Vec<u8>,
        plain: &mut BytesMut,
        bytes: &[u8],
        sealed: &mut [u8],
    ) -> io::Result<usize> {
        let mut filled = incoming.len();
        let turned = self.turn(incoming, &mut filled, plain);
        incoming.truncate(filled);
        turned?;
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

    /// Queues the message that we send nothing more.
    pub(crate) fn close(&mut self, incoming: &mut Vec<u8>, plain: &mut BytesMut) {
        let mut filled = incoming.len();
        let whole = !self.closed && self.turn(incoming, &mut filled, plain).is_ok();
        incoming.truncate(filled);
        self.closed = true;
        if whole
            && let Ok(ConnectionState::WriteTraffic(mut traffic)) =
                self.tls.process_tls_records(incoming).state
        {
            let mut sealed = [0; 256];
            // Where there is no room or no key left the end of the stream has to do.
            if let Ok(n) = traffic.queue_close_notify(&mut sealed) {
                self.outgoing.extend_from_slice(&sealed[..n]);
            }
        }
    }
}

/// What is next.
enum Step {
    /// Ask again.
    Again,
    /// More has to come; whether the handshake is done.
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
