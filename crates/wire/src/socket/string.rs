//! JSON strings, written and read in chunks of bytes: the frames of old clients are JSON inside a JSON
//! string.
//!
//! Invariant: these functions write and read exactly what `serde_json` writes and reads.

/// The number of bytes that are examined together.
const CHUNK: usize = 8;
/// The number of bytes that are collected before they are appended.
const BLOCK: usize = 128;

/// The bytes to write for a special byte. The number says how many of them count.
type Replacement = ([u8; CHUNK], usize);

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Room for the text without escapes, and for its quotes.
    out.reserve(text.len() + 2);
    out.push(b'"');
    // This cannot fail: `escape` has a replacement for every byte.
    let _ = copy(out, text.as_bytes(), |special, _| Some(escape(special)));
    out.push(b'"');
}

/// The escape sequence for a byte that must not occur in a JSON string as it is.
fn escape(special: u8) -> Replacement {
    let short = |letter| ([b'\\', letter, 0, 0, 0, 0, 0, 0], 2);
    match special {
        b'"' | b'\\' => short(special),
        b'\n' => short(b'n'),
        b'\r' => short(b'r'),
        b'\t' => short(b't'),
        0x08 => short(b'b'),
        0x0c => short(b'f'),
        control => {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
            let (high, low) = (digit(control >> 4), digit(control & 15));
            ([b'\\', b'u', b'0', b'0', high, low, 0, 0], 6)
        }
    }
}

/// The text of a JSON string, which is given with its quotes. `None` if it is invalid, or contains half of a
/// surrogate pair.
pub fn read_string(json: &str) -> Option<String> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let mut text = Vec::with_capacity(inner.len());
    let read = copy(&mut text, inner, |special, rest| {
        if special != b'\\' {
            return None;
        }
        let (&letter, behind) = rest.split_first()?;
        *rest = behind;
        let byte = match letter {
            b'"' | b'\\' | b'/' => letter,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 0x08,
            b'f' => 0x0c,
            _ => return None,
        };
        Some(([byte, 0, 0, 0, 0, 0, 0, 0], 1))
    });
    match read {
        // The text stays valid UTF-8: only ASCII characters are replaced, by ASCII characters.
        Some(()) => String::from_utf8(text).ok(),
        // Either the string has `\u`, which is rare enough to start again, or it is invalid.
        None => serde_json::from_str(json).ok(),
    }
}

/// Appends `text`, and replaces the bytes that a JSON string cannot contain as they are. `replace` gets such
/// a byte and the bytes after it, of which it may remove some. Returns `None` as soon as `replace` does.
#[inline]
fn copy(
    out: &mut Vec<u8>,
    text: &[u8],
    mut replace: impl FnMut(u8, &mut &[u8]) -> Option<Replacement>,
) -> Option<()> {
    let (mut block, mut filled) = ([0; BLOCK], 0);
    let mut rest = text;
    while !rest.is_empty() {
        // The block must have room for a chunk, and for the replacement of its last byte.
        if filled > BLOCK - 2 * CHUNK {
            out.extend_from_slice(&block[..filled]);
            filled = 0;
        }
        let (chunk, behind) = match rest.split_first_chunk() {
            Some((chunk, behind)) => (*chunk, behind),
            None => (padded(rest), &[][..]),
        };
        // It is cheaper to write the whole chunk, and to overwrite a part of it next time, than to write a
        // part of it.
        put(&mut block, filled, chunk);
        let found = specials(u64::from_le_bytes(chunk));
        if found == 0 {
            filled += rest.len().min(CHUNK);
            rest = behind;
            continue;
        }
        let clean = found.trailing_zeros() as usize / 8;
        filled += clean;
        rest = &rest[clean + 1..];
        let (bytes, length) = replace(chunk[clean], &mut rest)?;
        put(&mut block, filled, bytes);
        filled += length;
    }
    out.extend_from_slice(&block[..filled]);
    Some(())
}

/// Writes a chunk into the block at `at`, where it must have room.
#[inline]
fn put(block: &mut [u8; BLOCK], at: usize, chunk: [u8; CHUNK]) {
    if let Some(space) = block.get_mut(at..).and_then(|block| block.first_chunk_mut()) {
        *space = chunk;
    }
}

/// The last bytes of a text, padded to a chunk with bytes that are not special.
#[inline]
fn padded(last: &[u8]) -> [u8; CHUNK] {
    let mut chunk = [b' '; CHUNK];
    for (to, from) in chunk.iter_mut().zip(last) {
        *to = *from;
    }
    chunk
}

/// Sets the highest bit of each byte that a JSON string cannot contain as it is. The lowest bit that is set
/// is exact; those above it may be wrong.
#[inline]
fn specials(chunk: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; CHUNK]);
    const HIGH: u64 = ONES << 7;
    // Marks the bytes below 0x80 that are less than `limit`. The subtraction in such a byte borrows from the
    // byte above it.
    let below = |x: u64, limit: u8| x.wrapping_sub(ONES * u64::from(limit)) & !x & HIGH;
    // Inverting this bit turns the quote, 0x22, into 0x20, and keeps the control characters below 0x20.
    let control_or_quote = below(chunk ^ (ONES * 2), 0x21);
    let backslash = below(chunk ^ (ONES * u64::from(b'\\')), 1);
    control_or_quote | backslash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_at_every_offset_is_written_and_read_as_serde_does() {
        let all: Vec<char> = (0u8..128)
            .map(char::from)
            .chain("é\u{2028}日😀\u{ffff}".chars())
            .collect();
        for &c in &all {
            for before in 0..18 {
                let text = format!("{}{c}{}", "x".repeat(before), "é\"y".repeat(3));
                let mut json = Vec::new();
                write_string(&mut json, &text);
                let json = String::from_utf8(json).unwrap();
                assert_eq!(json, serde_json::to_string(&text).unwrap());
                assert_eq!(read_string(&json), Some(text));
            }
        }
    }

    #[test]
    fn optional_escapes_are_read() {
        for json in [
            r#""\/\u00e9\ud83d\ude00 \u0022""#,
            r#""\\\\\"""#,
            r#""""#,
            r#""12345678\"12345678\\""#,
        ] {
            assert_eq!(read_string(json), serde_json::from_str(json).ok(), "{json}");
        }
    }

    #[test]
    fn invalid_strings_are_refused() {
        for json in [
            "",
            "\"",
            "a",
            "\"a",
            "a\"",
            r#""\""#,
            r#""\x""#,
            r#""\é""#,
            r#""a"b""#,
            "\"\n\"",
            r#""\ud800""#,
            r#""\u12""#,
            r#"{"a":1}"#,
        ] {
            assert_eq!(read_string(json), None, "{json}");
            assert!(serde_json::from_str::<String>(json).is_err());
        }
    }
}
