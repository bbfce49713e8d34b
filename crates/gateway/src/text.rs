//! Skips a byte order mark, writes hexadecimal digits, and rewrites serde's error messages in plain words.
//!
//! Invariant: a message repeats at most a number or the name of a field, never a string, which may be a
//! secret.

/// The byte order mark (U+FEFF) that some editors and libraries put in front of UTF-8.
const MARK: &str = "\u{feff}";

/// `text` without a leading byte order mark (RFC 8259, section 8.1, allows readers of JSON to ignore it).
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// Like [`without_mark`], for bytes that may not be UTF-8.
pub(crate) fn bytes_without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK.as_bytes()).unwrap_or(bytes)
}

/// `bytes` as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Replaces Rust's type names in an error of serde by plain words: "invalid type: string \"big\", expected
/// usize" becomes "must be a whole number, 0 or more, not a string". `object` is what the format calls an
/// object: "an object" in JSON, "a table" in TOML. Other errors stay unchanged.
pub(crate) fn plain(complaint: &str, object: &str) -> String {
    let value = complaint
        .strip_prefix("invalid type: ")
        .or_else(|| complaint.strip_prefix("invalid value: "));
    if let Some((found, expected)) = value.and_then(|rest| rest.rsplit_once(", expected ")) {
        return format!(
            "must be {}, not {}",
            wanted(expected, object),
            given(found, object)
        );
    }
    let variant = complaint.strip_prefix("unknown variant `");
    if let Some((found, expected)) = variant.and_then(|rest| rest.rsplit_once("`, expected ")) {
        return format!("must be {expected}, not `{found}`");
    }
    complaint.to_owned()
}

/// What serde expected.
fn wanted<'a>(expected: &'a str, object: &'a str) -> &'a str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a borrowed string" | "string or map" | "a character" | "path string" => "a string",
        "a map" => object,
        _ if expected.starts_with("struct ") => object,
        _ if expected.starts_with("enum ") => "a string",
        _ if expected.contains("sequence") || expected.starts_with("tuple") => "an array",
        _ => expected,
    }
}

/// What serde found instead.
fn given<'a>(found: &'a str, object: &'a str) -> &'a str {
    let number = |kind: &str| {
        found
            .strip_prefix(kind)
            // A number that is too long for 64 bits is followed by " as i128".
            .and_then(|rest| Some(rest.strip_prefix('`')?.split_once('`')?.0))
    };
    if let Some(value) = ["integer ", "floating point ", "boolean "]
        .into_iter()
        .find_map(number)
    {
        return value;
    }
    match found {
        "sequence" => "an array",
        "map" => object,
        "null" | "unit value" | "Option value" => "null",
        _ if found.starts_with("string") || found.starts_with("character") => "a string",
        _ => "a value of another type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_have_no_words_of_rust_and_repeat_no_text() {
        for (complaint, said) in [
            (
                "invalid type: string \"hush, expected usize\", expected usize",
                "must be a whole number, 0 or more, not a string",
            ),
            (
                "invalid value: integer `-1`, expected u64",
                "must be a whole number, 0 or more, not -1",
            ),
            (
                "invalid value: integer `70000`, expected u16",
                "must be a whole number from 0 to 65535, not 70000",
            ),
            (
                "invalid type: floating point `1.5`, expected a string",
                "must be a string, not 1.5",
            ),
            (
                "invalid type: integer `99999999999999999999` as i128, expected u64",
                "must be a whole number, 0 or more, not 99999999999999999999",
            ),
            (
                "invalid type: integer `7`, expected path string",
                "must be a string, not 7",
            ),
            (
                "invalid type: sequence, expected struct Limits",
                "must be an object, not an array",
            ),
            (
                "invalid type: map, expected a boolean",
                "must be true or false, not an object",
            ),
            (
                "invalid type: null, expected a sequence",
                "must be an array, not null",
            ),
            (
                "invalid type: map, expected a string or a list of strings",
                "must be a string or a list of strings, not an object",
            ),
            (
                "unknown variant `one`, expected one of `a`, `b`",
                "must be one of `a`, `b`, not `one`",
            ),
            ("missing field `x`", "missing field `x`"),
            ("must be a uid", "must be a uid"),
        ] {
            assert_eq!(plain(complaint, "an object"), said);
        }
    }

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(hex(&[0, 9, 0x1a, 0xff]), "00091aff");
    }

    #[test]
    fn one_mark_is_taken_away_in_front_only() {
        assert_eq!(without_mark("\u{feff}{}"), "{}");
        assert_eq!(without_mark("{\u{feff}}"), "{\u{feff}}");
        assert_eq!(bytes_without_mark(b"\xef\xbb\xbf\xffx"), b"\xffx");
        assert_eq!(bytes_without_mark(b"\xef\xbb"), b"\xef\xbb");
    }
}
