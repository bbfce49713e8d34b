//! Reads messages from bytes.

use std::ops::Range;

use super::header::{self, Head};
use super::{Error, Message, Opcode, Role, close, mask};

/// Turns the bytes that are read from a connection into whole messages, wherever the reads cut them.
///
/// A message that lies whole in the read buffer is returned from there without a copy. Only incomplete data
/// is kept on the heap, never more than the limit, whatever length a header claims. Between messages a
/// decoder takes three words.
#[derive(Debug)]
pub struct Decoder {
    max_message: usize,
    role: Role,
    held: Option<Box<Incomplete>>,
}

/// Frames and messages that have been read in part.
#[derive(Debug, Default)]
struct Incomplete {
    /// The first bytes of an incomplete header.
    header: [u8; header::MAX_LEN],
    header_len: usize,
    /// The frame whose payload is being read. Its `mask` fits the next byte, and its `len` is the number of
    /// missing bytes.
    frame: Option<Head>,
    /// The payload so far of the incomplete control frame.
    control: Vec<u8>,
    /// The payload so far of the incomplete data message: its earlier fragments, and the current one as far
    /// as it was read.
    message: Vec<u8>,
    /// The opcode of the incomplete data message.
    message_opcode: Option<Opcode>,
    /// The data that the last call returned from here. The next call frees it.
    handed_out: Option<Opcode>,
}

/// The position of the next message.
enum Found {
    Nothing,
    InBuffer(Opcode, Range<usize>),
    Held(Opcode),
}

impl Decoder {
    /// A decoder for this end of a connection. A message of more than `max_message` bytes is an error.
    pub fn new(role: Role, max_message: usize) -> Self {
        Self {
            max_message,
            role,
            held: None,
        }
    }

    /// Bytes kept for incomplete data.
    pub fn held_bytes(&self) -> usize {
        self.held
            .as_ref()
            .map_or(0, |held| held.message.capacity() + held.control.capacity())
    }

    /// Returns the next whole message.
    ///
    /// `buf[*pos..]` has been read from the connection and not yet consumed. Payloads are unmasked in place,
    /// and `pos` moves on. `Ok(None)` means that all of `buf` was consumed. After an error the connection
    /// must be closed with [`Error::close_code`]. After an error or a close frame, `decode` must not be
    /// called again.
    pub fn decode<'m>(
        &'m mut self,
        buf: &'m mut [u8],
        pos: &mut usize,
    ) -> Result<Option<Message<'m>>, Error> {
        self.free_handed_out();
        let (opcode, payload) = match self.find(buf, pos)? {
            Found::Nothing => return Ok(None),
            Found::InBuffer(opcode, range) => (opcode, &buf[range]),
            Found::Held(opcode) => match self.held.as_deref() {
                Some(held) if opcode.is_control() => (opcode, held.control.as_slice()),
                Some(held) => (opcode, held.message.as_slice()),
                None => return Ok(None),
            },
        };
        message(opcode, payload).map(Some)
    }

    /// Frees the data that the last call returned.
    fn free_handed_out(&mut self) {
        let Some(held) = &mut self.held else { return };
        match held.handed_out.take() {
            Some(opcode) if opcode.is_control() => held.control = Vec::new(),
            Some(_) => held.message = Vec::new(),
            None => {}
        }
        if held.header_len == 0 && held.frame.is_none() && held.message_opcode.is_none() {
            self.held = None;
        }
    }

    fn find(&mut self, buf: &mut [u8], pos: &mut usize) -> Result<Found, Error> {
        loop {
            if let Some(held) = self.held.as_deref_mut().filter(|held| held.frame.is_some()) {
                let taken = held.take_payload(&mut buf[*pos..], self.max_message);
                *pos += taken;
                match held.end_of_frame() {
                    EndOfFrame::NotYet => return Ok(Found::Nothing),
                    EndOfFrame::Fragment => {}
                    EndOfFrame::Complete(opcode) => return Ok(Found::Held(opcode)),
                }
            }
            let Some(head) = self.next_head(buf, pos)? else {
                return Ok(Found::Nothing);
            };
            let open = self.held.as_deref().and_then(|held| held.message_opcode);
            self.check(&head, open)?;
            let end = pos.checked_add(head.len).filter(|end| *end <= buf.len());
            match end {
                Some(end) if head.opcode.is_control() || (head.fin && open.is_none()) => {
                    let range = *pos..end;
                    *pos = end;
                    mask::apply(&mut buf[range.clone()], head.mask);
                    return Ok(Found::InBuffer(head.opcode, range));
                }
                _ => self.held.get_or_insert_default().begin(head),
            }
        }
    }

    /// Reads a header, which may have started in an earlier buffer.
    fn next_head(&mut self, buf: &[u8], pos: &mut usize) -> Result<Option<Head>, Error> {
        if let Some(held) = self.held.as_deref_mut().filter(|held| held.header_len > 0) {
            while let Some(byte) = buf.get(*pos) {
                // The index is in range: a header of MAX_LEN bytes is complete, so it was returned with its
                // last byte.
                held.header[held.header_len] = *byte;
                held.header_len += 1;
                *pos += 1;
                if let Some((head, _)) = header::parse(&held.header[..held.header_len], self.role)? {
                    held.header_len = 0;
                    return Ok(Some(head));
                }
            }
            return Ok(None);
        }
        let rest = &buf[*pos..];
        match header::parse(rest, self.role)? {
            Some((head, len)) => {
                *pos += len;
                Ok(Some(head))
            }
            None => {
                if !rest.is_empty() {
                    let held = self.held.get_or_insert_default();
                    held.header[..rest.len()].copy_from_slice(rest);
                    held.header_len = rest.len();
                }
                *pos = buf.len();
                Ok(None)
            }
        }
    }

    /// Checks that a frame is allowed at its position.
    fn check(&self, head: &Head, open: Option<Opcode>) -> Result<(), Error> {
        if head.opcode.is_control() {
            return Ok(());
        }
        match (head.opcode, open) {
            (Opcode::Continuation, None) => {
                return Err(Error::Protocol("continuation frame without a message"));
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Error::Protocol("new message inside a fragmented message"));
            }
            _ => {}
        }
        let so_far = self.held.as_deref().map_or(0, |held| held.message.len());
        if head.len > self.max_message.saturating_sub(so_far) {
            return Err(Error::TooBig);
        }
        Ok(())
    }
}

/// The state of a frame after the available part of its payload was read.
enum EndOfFrame {
    NotYet,
    /// The frame is complete, but its message is not.
    Fragment,
    /// A whole message or control frame is held.
    Complete(Opcode),
}

impl Incomplete {
    fn begin(&mut self, head: Head) {
        if matches!(head.opcode, Opcode::Text | Opcode::Binary) {
            self.message_opcode = Some(head.opcode);
        }
        self.frame = Some(head);
    }

    /// Consumes the available part of the current frame's payload, and returns its number of bytes.
    fn take_payload(&mut self, bytes: &mut [u8], max_message: usize) -> usize {
        let Some(frame) = &mut self.frame else { return 0 };
        let taken = frame.len.min(bytes.len());
        let bytes = &mut bytes[..taken];
        mask::apply(bytes, frame.mask);
        let (target, most) = if frame.opcode.is_control() {
            (&mut self.control, frame.len)
        } else if frame.fin {
            let whole = self.message.len() + frame.len;
            (&mut self.message, whole)
        } else {
            (&mut self.message, max_message)
        };
        reserve(target, taken, most);
        target.extend_from_slice(bytes);
        frame.mask = mask::rotated(frame.mask, taken);
        frame.len -= taken;
        taken
    }

    fn end_of_frame(&mut self) -> EndOfFrame {
        let Some(frame) = self.frame.take_if(|frame| frame.len == 0) else {
            return EndOfFrame::NotYet;
        };
        if frame.opcode.is_control() {
            self.handed_out = Some(frame.opcode);
            return EndOfFrame::Complete(frame.opcode);
        }
        match self.message_opcode.take_if(|_| frame.fin) {
            Some(opcode) => {
                self.handed_out = Some(opcode);
                EndOfFrame::Complete(opcode)
            }
            None => EndOfFrame::Fragment,
        }
    }
}

/// Reserves room for `more` bytes. Like `Vec` it doubles the capacity, but it stops at `most`, which a
/// message cannot exceed.
fn reserve(target: &mut Vec<u8>, more: usize, most: usize) {
    let needed = target.len() + more;
    if needed > target.capacity() {
        let wanted = (target.capacity() * 2).min(most).max(needed);
        target.reserve_exact(wanted - target.len());
    }
}

fn message(opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, Error> {
    Ok(match opcode {
        Opcode::Text => Message::Text(std::str::from_utf8(payload).map_err(|_| Error::Utf8)?),
        Opcode::Binary | Opcode::Continuation => Message::Binary(payload),
        Opcode::Ping => Message::Ping(payload),
        Opcode::Pong => Message::Pong(payload),
        Opcode::Close => Message::Close(close::parse(payload)?),
    })
}

#[cfg(test)]
mod tests;
