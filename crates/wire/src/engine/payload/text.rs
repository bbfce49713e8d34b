//! The text of packets: reading it as UTF-8 leniently, and writing it as it is or as ASCII.

use crate::engine::Packet;

/// Decodes text that a 1.x client has itself encoded as UTF-8. The client's encoder writes half of a
/// surrogate pair (a character that was cut in two) as three bytes that are not valid UTF-8. They are
/// replaced by U+FFFD, as browsers do in every text that they send over a WebSocket.
pub(super) fn lenient_utf8(mut bytes: Vec<u8>) -> Option<String> {
    if std::str::from_utf8(&bytes).is_err() {
        for at in 0..bytes.len().saturating_sub(2) {
            // In UTF-8 the byte 0xED only occurs as the first byte of a character.
            if let three @ [0xed, 0xa0..=0xbf, 0x80..=0xbf] = &mut bytes[at..at + 3] {
                three.copy_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Appends a text packet with its type digit. [`encode`](super::encode) describes `ascii`.
pub(super) fn push_text(packet: &Packet<'_>, text: &str, ascii: bool, out: &mut String) {
    out.push(char::from(packet.kind.digit()));
    if ascii {
        push_ascii(text, out);
    } else {
        out.push_str(text);
    }
}

/// Appends JSON with every character beyond ASCII written as `\uXXXX`. It is the same JSON, for clients that
/// disagree with the server about encodings.
pub fn push_ascii(text: &str, out: &mut String) {
    if text.is_ascii() {
        out.push_str(text);
        return;
    }
    for char in text.chars() {
        if char.is_ascii() {
            out.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                push_unit(*unit, out);
            }
        }
    }
}

/// Appends `\uXXXX`.
fn push_unit(unit: u16, out: &mut String) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        // A value of four bits is always a hexadecimal digit.
        out.push(char::from_digit(u32::from(unit >> shift) & 0xf, 16).unwrap_or('0'));
    }
}
