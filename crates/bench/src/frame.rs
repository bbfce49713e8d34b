//! The part of RFC 6455 that a load generator needs: it writes masked frames, and reads complete unmasked
//! frames.
//!
//! It intentionally does not use the codec of `mynah-wire`, because the measured code must not judge itself.

use std::ops::Range;

/// The mask of all frames. It is fixed, so that a frame can be encoded once and sent by many clients.
const MASK: [u8; 4] = [0x6d, 0x79, 0x6e, 0x61];

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// UTF-8 text: one Engine.IO packet.
    Text,
    /// Bytes.
    Binary,
    /// The end of the connection.
    Close,
    /// A WebSocket ping or pong.
    Control,
}

/// A complete frame in a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The frame's type.
    pub(crate) opcode: Opcode,
    /// The position of its payload.
    pub(crate) payload: Range<usize>,
    /// The start of the next frame.
    pub(crate) end: usize,
}

/// Finds the frame that starts at `at`; `Ok(None)` if it is incomplete.
pub(crate) fn next(buf: &[u8], at: usize) -> Result<Option<Frame>, &'static str> {
    let Some(&[first, second]) = buf.get(at..at + 2) else {
        return Ok(None);
    };
    if first & 0x80 == 0 {
        return Err("the server sent a fragmented message, which this client does not support");
    }
    if second & 0x80 != 0 {
        return Err("the server sent a masked frame");
    }
    let (len, start) = match second {
        126 => match buf.get(at + 2..at + 4) {
            Some(&[a, b]) => (usize::from(u16::from_be_bytes([a, b])), at + 4),
            _ => return Ok(None),
        },
        127 => match buf.get(at + 2..at + 10).and_then(|b| b.try_into().ok()) {
            Some(bytes) => match usize::try_from(u64::from_be_bytes(bytes)) {
                Ok(len) if len <= 64 << 20 => (len, at + 10),
                _ => return Err("the server sent a frame of more than 64 MiB"),
            },
            None => return Ok(None),
        },
        len => (usize::from(len), at + 2),
    };
    let end = start + len;
    if buf.len() < end {
        return Ok(None);
    }
    let opcode = match first & 0x0f {
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 | 10 => Opcode::Control,
        _ => return Err("the server sent a frame with an unknown opcode"),
    };
    Ok(Some(Frame {
        opcode,
        payload: start..end,
        end,
    }))
}

/// A masked text frame.
pub(crate) fn text(payload: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    out.push(0x81);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(
        payload
            .bytes()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmasked(payload: &[u8]) -> Vec<u8> {
        let mut frame = text(std::str::from_utf8(payload).expect("test text"));
        let mask = frame.len() - payload.len() - 4;
        frame.truncate(mask);
        frame[1] &= 0x7f;
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_of_every_length_are_found_once_they_are_complete() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; len];
            let mut bytes = unmasked(&payload);
            let end = bytes.len();
            bytes.extend_from_slice(&[0x81]);
            let frame = next(&bytes, 0).expect("valid").expect("whole");
            assert_eq!(
                (frame.opcode, frame.end, frame.payload.len()),
                (Opcode::Text, end, len)
            );
            assert_eq!(next(&bytes, end), Ok(None));
            for cut in 0..end.min(12) {
                assert_eq!(next(&bytes[..cut], 0), Ok(None), "{len} cut at {cut}");
            }
        }
    }

    #[test]
    fn invalid_server_frames_are_refused() {
        assert!(next(&[0x01, 0x00], 0).is_err(), "fragment");
        assert!(next(&[0x81, 0x80], 0).is_err(), "masked");
        assert!(next(&[0x83, 0x00], 0).is_err(), "opcode");
        assert!(next(&[0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0], 0).is_err(), "length");
    }

    #[test]
    fn sent_text_is_masked() {
        let frame = text("2");
        assert_eq!(frame, [0x81, 0x81, 0x6d, 0x79, 0x6e, 0x61, b'2' ^ 0x6d]);
    }
}
