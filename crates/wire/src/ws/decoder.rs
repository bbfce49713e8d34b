//! Bytes into messages.

use std::ops::Range;

use super::header::{self, Head};
use super::{Error, Message, Opcode, Role, close, mask};

/// Turns what is read from a connection into whole messages, however the reads cut it.
///
/// A message that lies whole in the read buffer is handed out from there without a copy. Only what is incomplete is kept
/// on the heap, and never more than the bound, whatever length a header claims; between messages a decoder is three words.
#[derive(Debug)]
pub struct Decoder {
    max_message: usize,
    role: Role,
    held: Option<Box<Held>>,
}

/// What was read of frames and messages that are not complete yet.
#[derive(Debug, Default)]
struct Held {
    /// The first bytes of a header whose last ones have not come.
    header: [u8; header::MAX_LEN],
    header_len: usize,
    /// The frame whose payload is coming; its mask fits the next byte, its `len` is what is still to come.
    frame: Option<Head>,
    /// Payload of the control frame under way.
    control: Vec<u8>,
    /// Payload so far of the data message under way: its fragments, and what came of the current frame.
    message: Vec<u8>,
    /// Kind of the data message under way.
    message_opcode: Option<Opcode>,
    /// What the last call handed out from here, to be let go by the next.
    handed_out: Option<Opcode>,
}

/// Where the next message lies.
enum Found {
    Nothing,
    InBuffer(Opcode, Range<usize>),
    Held(Opcode),
}

impl Decoder {
    /// A decoder for our end of a connection; a message of more than `max_message` bytes is an error.
    pub fn new(role: Role, max_message: usize) -> Self {
        Self {
            max_message,
            role,
            held: None,
        }
    }

    /// Bytes that are kept of what is not complete.
    pub fn held_bytes(&self) -> usize {
        self.held
            .as_ref()
            .map_or(0, |held| held.message.capacity() + held.control.capacity())
    }

    /// Takes the next whole message.
    ///
    /// `buf[*pos..]` is what was read and not yet consumed; payloads are unmasked in place and `pos` is moved on.
    /// `Ok(None)`: all of `buf` was consumed, and what is incomplete is kept inside. After an error the connection is to be
    /// closed with [`Error::close_code`], and after a close frame nothing more is to be read: the decoder is of no further use.
    pub fn decode<'m>(
        &'m mut self,
        buf: &'m mut [u8],
        pos: &mut usize,
    ) -> Result<Option<Message<'m>>, Error> {
        self.let_go();
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

    /// Frees what the last call handed out.
    fn let_go(&mut self) {
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

    /// Reads a header, which may have begun in an earlier buffer.
    fn next_head(&mut self, buf: &[u8], pos: &mut usize) -> Result<Option<Head>, Error> {
        if let Some(held) = self.held.as_deref_mut().filter(|held| held.header_len > 0) {
            while let Some(byte) = buf.get(*pos) {
                // In range: a header of MAX_LEN bytes is always complete and was taken when its last byte came.
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

    /// What holds for a frame where it stands.
    fn check(&self, head: &Head, open: Option<Opcode>) -> Result<(), Error> {
        if head.opcode.is_control() {
            return Ok(());
        }
        match (head.opcode, open) {
            (Opcode::Continuation, None) => return Err(Error::Protocol("continuation of no message")),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Error::Protocol("message begun within a fragmented one"));
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

/// Where a frame stands after its payload was read as far as it came.
enum EndOfFrame {
    NotYet,
    /// The frame ends, its message does not.
    Fragment,
    /// A whole message or control frame is held.
    Complete(Opcode),
}

impl Held {
    fn begin(&mut self, head: Head) {
        if matches!(head.opcode, Opcode::Text | Opcode::Binary) {
            self.message_opcode = Some(head.opcode);
        }
        self.frame = Some(head);
    }

    /// Takes what there is of the current frame's payload; returns how many bytes.
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

/// Makes room for `more` bytes, doubling as `Vec` does but not beyond `most`, which a message cannot exceed.
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
