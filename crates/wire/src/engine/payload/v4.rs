//! EIO4: text packets with a record separator between them; binary packets are written as base64.

use super::PayloadError;
use super::text::push_text;
use crate::engine::{Body, Packet, Protocol, base64};

const SEPARATOR: char = '\u{1e}';

/// Reads the packet at `at`, and moves `at` to the next one. After the last packet `at` is the length plus
/// one.
pub(super) fn next<'a>(text: &'a str, at: &mut usize) -> Option<Result<Packet<'a>, PayloadError>> {
    let rest = text.get(*at..)?;
    let part = rest.split_once(SEPARATOR).map_or(rest, |(part, _)| part);
    *at += part.len() + SEPARATOR.len_utf8();
    Some(Packet::decode_text(Protocol::V4, part).map_err(PayloadError::from))
}

pub(super) fn encode(packets: &[Packet<'_>], ascii: bool) -> String {
    let len = packets.iter().map(|packet| match &packet.body {
        Body::Text(text) => 2 + text.len(),
        Body::Binary(bytes) => 2 + base64::encoded_len(bytes.len()),
    });
    let mut out = String::with_capacity(len.sum());
    for (i, packet) in packets.iter().enumerate() {
        if i > 0 {
            out.push(SEPARATOR);
        }
        match &packet.body {
            Body::Text(text) => push_text(packet, text, ascii, &mut out),
            Body::Binary(bytes) => packet.write_base64(Protocol::V4, bytes, &mut out),
        }
    }
    out
}
