//! Request targets with characters that hyper refuses and Node's server accepts. They come from clients that
//! do not percent-encode the query parameters of the application.

use bytes::Bytes;

/// The head with `"`, `<` and `>` of its first line percent-encoded; `None` when it has none.
pub(crate) fn escaped(head: &[u8]) -> Option<Bytes> {
    let end = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
    let (line, rest) = head.split_at(end);
    line.iter().find(|byte| matches!(byte, b'"' | b'<' | b'>'))?;
    let mut escaped = Vec::with_capacity(head.len() + 64);
    for byte in line {
        match byte {
            b'"' => escaped.extend_from_slice(b"%22"),
            b'<' => escaped.extend_from_slice(b"%3C"),
            b'>' => escaped.extend_from_slice(b"%3E"),
            other => escaped.push(*other),
        }
    }
    escaped.extend_from_slice(rest);
    Some(escaped.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_is_escaped() {
        for (head, expected) in [
            (
                "GET /?a={\"b\":\"<c>\"} HTTP/1.1\r\nX: \"<>\r\n\r\n\"",
                Some("GET /?a={%22b%22:%22%3Cc%3E%22} HTTP/1.1\r\nX: \"<>\r\n\r\n\""),
            ),
            ("GET /?a=\"", Some("GET /?a=%22")),
            ("GET /?a=%22 HTTP/1.1\r\nX: \"\r\n\r\n", None),
            ("", None),
        ] {
            let escaped = escaped(head.as_bytes());
            assert_eq!(escaped.as_deref(), expected.map(str::as_bytes), "{head}");
        }
    }
}
