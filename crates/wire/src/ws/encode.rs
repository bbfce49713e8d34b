//! Writes frames. They are never fragmented or compressed.

use std::ops::Deref;

use super::{Opcode, mask};

/// The bytes before a payload: at most ten, stored inline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; 10],
    len: u8,
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The header of an unmasked final frame with a payload of `payload_len` bytes.
pub fn header(opcode: Opcode, payload_len: usize) -> Header {
    let mut bytes = [0; 10];
    bytes[0] = 0x80 | opcode.number();
    let len = if payload_len < 126 {
        bytes[1] = payload_len as u8;
        2
    } else if let Ok(short) = u16::try_from(payload_len) {
        bytes[1] = 126;
        bytes[2..4].copy_from_slice(&short.to_be_bytes());
        4
    } else {
        bytes[1] = 127;
        bytes[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
        10
    };
    Header { bytes, len }
}

/// An unmasked final frame, as servers send it.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let header = header(opcode, payload.len());
    let mut frame = Vec::with_capacity(header.len() + payload.len());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(payload);
    frame
}

/// A masked final frame, as clients send it.
pub fn masked_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut header = header(opcode, payload.len());
    header.bytes[1] |= 0x80;
    let mut frame = Vec::with_capacity(header.len() + mask.len() + payload.len());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&mask);
    let start = frame.len();
    frame.extend_from_slice(payload);
    mask::apply(&mut frame[start..], mask);
    frame
}

/// The payload of a close frame: empty if there is no code. A reason that would make it longer than 125 bytes
/// is cut between two characters.
fn close_payload(code: Option<u16>, reason: &str) -> Vec<u8> {
    let Some(code) = code else { return Vec::new() };
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(123)]);
    payload
}

/// An unmasked close frame: without a payload if there is no code. A reason that does not fit is cut between
/// two characters.
pub fn close_frame(code: Option<u16>, reason: &str) -> Vec<u8> {
    frame(Opcode::Close, &close_payload(code, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_the_fewest_bytes() {
        assert_eq!(&*header(Opcode::Text, 0), [0x81, 0]);
        assert_eq!(&*header(Opcode::Text, 125), [0x81, 125]);
        assert_eq!(&*header(Opcode::Binary, 126), [0x82, 126, 0, 126]);
        assert_eq!(&*header(Opcode::Binary, 65_535), [0x82, 126, 255, 255]);
        assert_eq!(
            &*header(Opcode::Pong, 65_536),
            [0x8a, 127, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }

    #[test]
    fn the_rfc_s_masked_hello_is_written() {
        let frame = masked_frame(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(
            frame,
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        assert_eq!(close_frame(None, "ignored"), [0x88, 0]);
        let frame = close_frame(Some(1001), &"\u{65e5}".repeat(50));
        assert_eq!(frame.len(), 2 + 2 + 123);
        let frame = close_frame(Some(1001), &format!("aa{}", "\u{65e5}".repeat(50)));
        assert_eq!(frame.len(), 2 + 2 + 122);
    }
}
