//! The depth of nested JSON, without recursion.

/// Whether the arrays and objects of `json`, which is valid JSON, are nested more than `limit` deep.
pub(crate) fn too_deep(json: &str, limit: usize) -> bool {
    // Most messages have fewer brackets than the allowed number of levels.
    if memchr::memchr2_iter(b'{', b'[', json.as_bytes()).count() <= limit {
        return false;
    }
    let mut depth = 0usize;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    false
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_objects_and_arrays_outside_strings() {
        for (json, depth) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[1,{"b":2}],"c":[]}"#, 3),
            (r#"["[[[[", "\"[[[", "\\", []]"#, 2),
        ] {
            assert!(!too_deep(json, depth), "{json}");
            assert!(depth == 0 || too_deep(json, depth - 1), "{json}");
        }
    }

    #[test]
    fn ten_thousand_levels_are_no_recursion() {
        let json = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert!(too_deep(&json, 128));
        assert!(!too_deep(&json, 1_000_000));
    }
}
