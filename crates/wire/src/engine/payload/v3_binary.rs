//! EIO3 as octets: each packet has a byte 0 (text) or 1 (binary), its length in decimal digits as bytes 0 to
//! 9, and a byte 255 before it.

use super::PayloadError;
use super::text::{lenient_utf8, push_text};
use crate::engine::{Body, Packet, PacketError, Protocol};

const TEXT: u8 = 0;
const BINARY: u8 = 1;
const END_OF_LENGTH: u8 = 255;

/// Reads the packet at `at`, and moves `at` to the next one.
pub(super) fn next<'a>(body: &'a [u8], at: &mut usize) -> Option<Result<Packet<'a>, PayloadError>> {
    let [form, rest @ ..] = body.get(*at..)? else {
        return None;
    };
    Some(packet(*form, rest).map(|(packet, rest)| {
        *at = body.len() - rest.len();
        packet
    }))
}

/// Reads a packet of this form, and returns it with the bytes after it.
fn packet(form: u8, rest: &[u8]) -> Result<(Packet<'_>, &[u8]), PayloadError> {
    let (len, rest) = length(rest)?;
    let (packet, rest) = rest.split_at_checked(len).ok_or(PayloadError::Length)?;
    let packet = match form {
        TEXT => match std::str::from_utf8(packet) {
            Ok(text) => Packet::decode_text(Protocol::V3, text)?,
            Err(_) => {
                let text = lenient_utf8(packet.to_vec()).ok_or(PacketError::Utf8)?;
                Packet::decode_text(Protocol::V3, &text)?.into_owned()
            }
        },
        BINARY => Packet::decode_binary(Protocol::V3, packet)?,
        _ => return Err(PacketError::UnknownType.into()),
    };
    Ok((packet, rest))
}

/// Reads the length and the byte 255, and returns the length with the bytes after them.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), PayloadError> {
    let mut len = None;
    for (i, byte) in bytes.iter().enumerate() {
        match (*byte, len) {
            (END_OF_LENGTH, Some(len)) => return Ok((len, &bytes[i + 1..])),
            (digit @ 0..=9, so_far) => {
                let shifted = so_far
                    .unwrap_or(0usize)
                    .checked_mul(10)
                    .ok_or(PayloadError::Length)?;
                len = Some(
                    shifted
                        .checked_add(usize::from(digit))
                        .ok_or(PayloadError::Length)?,
                );
            }
            _ => break,
        }
    }
    Err(PayloadError::Length)
}

pub(super) fn encode(packets: &[Packet<'_>], ascii: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut scratch = String::new();
    for packet in packets {
        match &packet.body {
            Body::Text(text) => {
                scratch.clear();
                push_text(packet, text, ascii, &mut scratch);
                push_head(TEXT, scratch.len(), &mut out);
                out.extend_from_slice(scratch.as_bytes());
            }
            Body::Binary(bytes) => {
                push_head(BINARY, 1 + bytes.len(), &mut out);
                out.push(packet.kind.number());
                out.extend_from_slice(bytes);
            }
        }
    }
    out
}

fn push_head(form: u8, len: usize, out: &mut Vec<u8>) {
    out.push(form);
    out.extend(len.to_string().bytes().map(|digit| digit - b'0'));
    out.push(END_OF_LENGTH);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PacketType;
    use crate::engine::payload::{PostForm, Reader, TextHabit};

    fn decode(body: &[u8]) -> Result<Vec<Packet<'static>>, PayloadError> {
        let habit = &mut TextHabit::default();
        let mut reader = Reader::new(Protocol::V3, PostForm::Binary, body.into(), habit)?;
        Ok(std::iter::from_fn(|| reader.next_packet().map(Packet::into_owned)).collect())
    }

    #[test]
    fn text_and_binary_packets_are_read() {
        let body = [&[0, 1, 2, 255][..], b"4h\xc3\xa9llo wo \0", &[1, 3, 255, 4, 1, 2]].concat();
        assert_eq!(
            decode(&body).unwrap(),
            [
                Packet::text(PacketType::Message, "h\u{e9}llo wo \0"),
                Packet::binary(&[1, 2][..])
            ]
        );
    }

    #[test]
    fn half_of_a_surrogate_pair_is_replaced() {
        let packet = b"4\xed\xb8\x80\xc3\xa9";
        let body = [&[0, packet.len() as u8, 255], &packet[..]].concat();
        assert_eq!(
            decode(&body).unwrap(),
            [Packet::text(PacketType::Message, "\u{fffd}\u{e9}")]
        );
    }

    #[test]
    fn invalid_bodies_are_refused() {
        for body in [
            &[0][..],
            &[0, 255],
            &[0, 1],
            &[0, 1, 255],
            &[0, 10, 255, b'4'],
            &[0, b'1', 255, b'4'],
            &[2, 1, 255, b'4'],
            &[0, 1, 255, 0xff],
            &[0, 2, 255, b'4', 0xff],
            &[0, 3, 255, b'4', 0xed, 0xa0],
            &[1, 1, 255, b'4'],
            &[1, 0, 255],
            &[
                0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 255, b'4',
            ],
        ] {
            assert!(decode(body).is_err(), "{body:?}");
        }
    }
}
