//! Checks the placeholders in the JSON of binary packets.

use std::borrow::Cow;

use super::DecodeError;

/// Checks for every `{"_placeholder":true,"num":i}` in `json` that i is below `attachments`.
///
/// `json` must be valid. The walk keeps its own stack, because `json` may be nested too deeply for recursion.
pub(super) fn check(json: &str, attachments: usize) -> Result<(), DecodeError> {
    // The key cannot be hidden from this search except by an escape.
    let finder = memchr::memmem::Finder::new("_placeholder");
    if finder.find(json.as_bytes()).is_none() && memchr::memchr(b'\\', json.as_bytes()).is_none() {
        return Ok(());
    }
    let mut objects: Vec<Object<'_>> = Vec::new();
    // The last string that was read. It is a key if a colon follows.
    let mut string = "";
    let mut key = Key::Other;
    let mut at = 0;
    while let Some(byte) = json.as_bytes().get(at) {
        let start = at;
        at += 1;
        match byte {
            b'"' => {
                at = end_of_string(json, at);
                string = &json[start..at];
                key = std::mem::replace(&mut key, Key::Other).value(&mut objects, string);
            }
            b':' => key = Key::of(string),
            b'{' | b'[' => {
                key = key.value(&mut objects, "");
                objects.push(Object::default());
            }
            b'}' | b']' => {
                if objects.pop().is_some_and(|object| !object.fits(attachments)) {
                    return Err(DecodeError::Placeholder);
                }
            }
            b',' | b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                at = end_of_scalar(json, at);
                key = key.value(&mut objects, &json[start..at]);
            }
        }
    }
    Ok(())
}

/// What is known so far about an object, or about an array, which has no keys. If a key is repeated, the last
/// one counts.
#[derive(Default)]
struct Object<'a> {
    placeholder: bool,
    num: &'a str,
}

impl Object<'_> {
    /// Whether the object is not a placeholder, or is one with an attachment.
    fn fits(&self, attachments: usize) -> bool {
        if !self.placeholder {
            return true;
        }
        // To JavaScript, 1.0 and 1e0 are the number 1. There are few attachments, so the comparison is exact.
        self.num
            .parse::<f64>()
            .is_ok_and(|num| num.fract() == 0.0 && num >= 0.0 && num < attachments as f64)
    }
}

/// The key of the next value.
enum Key {
    Placeholder,
    Num,
    Other,
}

impl Key {
    fn of(string: &str) -> Self {
        let inner = string.trim_matches('"');
        let name = if inner.contains('\\') {
            serde_json::from_str(string).map_or(Cow::Borrowed(""), Cow::Owned)
        } else {
            Cow::Borrowed(inner)
        };
        match &*name {
            "_placeholder" => Self::Placeholder,
            "num" => Self::Num,
            _ => Self::Other,
        }
    }

    /// Stores the value of this key in the innermost object. Returns that no further value belongs to a known
    /// key.
    fn value<'a>(self, objects: &mut [Object<'a>], value: &'a str) -> Self {
        if let Some(object) = objects.last_mut() {
            match self {
                Self::Placeholder => object.placeholder = value == "true",
                Self::Num => object.num = value,
                Self::Other => {}
            }
        }
        Self::Other
    }
}

/// The offset after the string's closing quote. `at` is the offset after its opening quote.
fn end_of_string(json: &str, mut at: usize) -> usize {
    let bytes = json.as_bytes();
    while let Some(len) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        at += len + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        // Skip the escaped byte. The rest of \uXXXX contains neither a quote nor a backslash.
        at = (at + 1).min(bytes.len());
    }
    bytes.len()
}

/// The offset after a number, `true`, `false` or `null`.
fn end_of_scalar(json: &str, at: usize) -> usize {
    let rest = &json.as_bytes()[at..];
    let end = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
    at + rest.iter().position(end).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn fits(json: &str, attachments: usize) -> bool {
        let _: &serde_json::value::RawValue = serde_json::from_str(json).unwrap();
        check(json, attachments).is_ok()
    }

    #[test]
    fn placeholders_need_an_attachment() {
        assert!(fits(
            r#"["a",{"_placeholder":true,"num":0},{"num":1,"_placeholder":true}]"#,
            2
        ));
        assert!(fits(r#"["a",{"b":[{"_placeholder" : true , "num" : 1.0}]}]"#, 2));
        for wrong in [
            r#"[{"_placeholder":true,"num":2}]"#,
            r#"[{"_placeholder":true,"num":-1}]"#,
            r#"[{"_placeholder":true,"num":0.5}]"#,
            r#"[{"_placeholder":true,"num":1e300}]"#,
            r#"[{"_placeholder":true,"num":"0"}]"#,
            r#"[{"_placeholder":true,"num":null}]"#,
            r#"[{"_placeholder":true}]"#,
            r#"[{"_placeholder":true,"num":0,"num":9}]"#,
            r#"[{"_placeholder":true,"num":[0]}]"#,
            r#"[{"num":9,"x":{"y":"}"},"_placeholder":true}]"#,
            r#"[{"_pl\u0061ceholder":true,"n\u0075m":9}]"#,
            r#"{"a":{"_placeholder":true,"num":9}}"#,
        ] {
            assert!(!fits(wrong, 2), "{wrong}");
        }
    }

    #[test]
    fn similar_json_is_not_taken_for_a_placeholder() {
        for fine in [
            r#"[{"_placeholder":false,"num":9}]"#,
            r#"[{"_placeholder":"true","num":9}]"#,
            r#"[{"_placeholder":1,"num":9}]"#,
            r#"[{"_placeholder":true,"_placeholder":false,"num":9}]"#,
            r#"["_placeholder",true,"num",9]"#,
            r#"["\"_placeholder\":true,\"num\":9"]"#,
            r#"[{"_placeholder":{"_placeholder":false},"num":9}]"#,
            r#"[{"a\\":"_placeholder","b":true}]"#,
            r#"[{"_placeholder":[true],"num":9}]"#,
        ] {
            assert!(fits(fine, 0), "{fine}");
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = |inner: &str| format!("{}{inner}{}", "[{\"a\":".repeat(50_000), "}]".repeat(50_000));
        assert!(check(&deep(r#"{"_placeholder":true,"num":0}"#), 1).is_ok());
        assert!(check(&deep(r#"{"_placeholder":true,"num":1}"#), 1).is_err());
    }
}
