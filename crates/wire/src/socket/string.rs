//! JSON strings, which the frames of old clients are inside of: escaped and unescaped in long runs.
//!
//! Invariant: what is written is what `serde_json` writes, and what is read is what it reads.

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut String, text: &str) {
    // What needs no escape, and the quotes around it.
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    while let Some(at) = special(rest.as_bytes()) {
        let (clean, from) = rest.split_at(at);
        out.push_str(clean);
        // ASCII, so that a character ends behind it.
        let (byte, behind) = (from.as_bytes()[0], &from[1..]);
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            control => {
                out.push_str("\\u00");
                for digit in [control >> 4, control & 15] {
                    out.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
                }
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    out.push('"');
}

/// Where the first byte stands that a JSON string cannot have as it is.
fn special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..=0x1f);
    // Eight at a time: `x - ONES & !x & HIGH` is not zero just when one of the bytes of `x` is.
    let has_zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGH;
    let clean = |chunk: &[u8; 8]| {
        let x = u64::from_ne_bytes(*chunk);
        let control = x.wrapping_sub(ONES * 0x20) & !x & HIGH;
        let quote = has_zero(x ^ (ONES * u64::from(b'"')));
        let backslash = has_zero(x ^ (ONES * u64::from(b'\\')));
        control | quote | backslash == 0
    };
    let (chunks, _) = bytes.as_chunks();
    let from = 8 * chunks.iter().take_while(|chunk| clean(chunk)).count();
    let at = bytes[from..].iter().position(is_special)?;
    Some(from + at)
}

/// The text of a JSON string, given with its quotes; `None` when it is none, or has half of a surrogate pair.
pub fn read_string(json: &str) -> Option<String> {
    let mut rest = json.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = special(rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let mut escape = rest[at..].bytes();
        text.push(match (escape.next()?, escape.next()?) {
            (b'\\', same @ (b'"' | b'\\' | b'/')) => char::from(same),
            (b'\\', b'n') => '\n',
            (b'\\', b'r') => '\r',
            (b'\\', b't') => '\t',
            (b'\\', b'b') => '\x08',
            (b'\\', b'f') => '\x0c',
            // Rare enough to begin again.
            (b'\\', b'u') => return serde_json::from_str(json).ok(),
            _ => return None,
        });
        rest = &rest[at + 2..];
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_written_and_read_as_serde_does() {
        let all: Vec<char> = (0u8..128)
            .map(char::from)
            .chain("é\u{2028}日😀\u{ffff}".chars())
            .collect();
        for &c in &all {
            for before in 0..18 {
                let text = format!("{}{c}{}", "x".repeat(before), "é\"y".repeat(3));
                let mut json = String::new();
                write_string(&mut json, &text);
                assert_eq!(json, serde_json::to_string(&text).unwrap());
                assert_eq!(read_string(&json), Some(text));
            }
        }
    }

    #[test]
    fn escapes_that_nobody_has_to_use_are_read_too() {
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
    fn what_is_no_string_is_refused() {
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
