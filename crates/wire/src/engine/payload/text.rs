//! Text of packets: checked as UTF-8 when it comes, and written plainly or as ASCII.

use super::PayloadError;
use crate::engine::Packet;

pub(super) fn utf8(body: &[u8]) -> Result<&str, PayloadError> {
    std::str::from_utf8(body).map_err(|_| PayloadError::Utf8)
}

/// Reads what a 1.x client has encoded as UTF-8 itself. Its encoder does not look for half of a surrogate
/// pair (a character that was cut in two) and writes it as three bytes that UTF-8 does not have: U+FFFD takes
/// their place, as in any text that a WebSocket carries.
pub(super) fn lenient_utf8(mut bytes: Vec<u8>) -> Option<String> {
    if std::str::from_utf8(&bytes).is_err() {
        for at in 0..bytes.len().saturating_sub(2) {
            // 0xED only ever begins a character.
            if let three @ [0xed, 0xa0..=0xbf, 0x80..=0xbf] = &mut bytes[at..at + 3] {
                three.copy_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Appends a text packet, its type digit in front, for `ascii` see [`encode`](super::encode).
pub(super) fn push_text(packet: &Packet<'_>, text: &str, ascii: bool, out: &mut String) {
    out.push(char::from(packet.kind.digit()));
    if ascii {
        push_ascii(text, out);
    } else {
        out.push_str(text);
    }
}

/// Appends JSON with every character beyond ASCII as `\uXXXX`: the same JSON, for clients that do not agree
/// with us about encodings.
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
        // A nibble is always a digit of base 16.
        out.push(char::from_digit(u32::from(unit >> shift) & 0xf, 16).unwrap_or('0'));
    }
}
