//! Request targets with characters that hyper refuses and Node's server accepts. They come from clients that
//! do not percent-encode the query parameters of the application.

use std::ops::Range;

use bytes::Bytes;

/// Percent-encodes `"`, `<` and `>` in the part of a request line that `line` names in `part`. Returns
/// `None` if there are none.
pub(crate) fn escaped(part: &[u8], line: Range<usize>) -> Option<Bytes> {
    part[line.clone()]
        .iter()
        .find(|byte| matches!(byte, b'"' | b'<' | b'>'))?;
    let mut escaped = Vec::with_capacity(part.len() + 64);
    escaped.extend_from_slice(&part[..line.start]);
    for byte in &part[line.clone()] {
        match byte {
            b'"' => escaped.extend_from_slice(b"%22"),
            b'<' => escaped.extend_from_slice(b"%3C"),
            b'>' => escaped.extend_from_slice(b"%3E"),
            other => escaped.push(*other),
        }
    }
    escaped.extend_from_slice(&part[line.end..]);
    Some(escaped.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::first::HeadEnd;

    #[test]
    fn only_the_request_line_is_escaped() {
        for (head, expected) in [
            (
                "GET /?a={\"b\":\"<c>\"} HTTP/1.1\r\nX: \"<>\r\n\r\n\"",
                Some("GET /?a={%22b%22:%22%3Cc%3E%22} HTTP/1.1\r\nX: \"<>\r\n\r\n\""),
            ),
            ("\r\n\nGET /?a=\"\n\"", Some("\r\n\nGET /?a=%22\n\"")),
            ("GET /?a=\"", Some("GET /?a=%22")),
            ("GET /?a=%22 HTTP/1.1\r\nX: \"\r\n\r\n", None),
            ("", None),
        ] {
            let line = HeadEnd::default().request_line(head.as_bytes());
            let escaped = escaped(head.as_bytes(), line);
            assert_eq!(escaped.as_deref(), expected.map(str::as_bytes), "{head}");
        }
    }
}
