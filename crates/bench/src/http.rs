//! Complete HTTP/1.1 responses in a buffer: those of the API, and those of polling.

use std::borrow::Cow;

use memchr::memmem;

/// A complete response in a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The start of the next response.
    pub(crate) end: usize,
    /// The start of the body.
    start: usize,
    /// Whether the body has the chunked transfer coding.
    chunked: bool,
}

impl Response {
    /// The body, from the buffer in which the response was found. Only chunks are copied.
    pub(crate) fn body<'a>(&self, buf: &'a [u8]) -> Cow<'a, [u8]> {
        let raw = &buf[self.start..self.end];
        if !self.chunked {
            return Cow::Borrowed(raw);
        }
        let (mut whole, mut at) = (Vec::with_capacity(raw.len()), 0);
        while let Ok(Some((data, next))) = chunk(raw, at)
            && !data.is_empty()
        {
            whole.extend_from_slice(data);
            at = next;
        }
        Cow::Owned(whole)
    }
}

/// Finds the response at the start of `buf`; `Ok(None)` if it is incomplete.
pub(crate) fn response(buf: &[u8]) -> Result<Option<Response>, &'static str> {
    let Some(head) = memmem::find(buf, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&buf[..head]).map_err(|_| "the head of an HTTP response is not text")?;
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or("an HTTP response has no status")?;
    let start = head + 4;
    let (mut length, mut chunked) = ((status == 204).then_some(0), false);
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(
                value
                    .trim()
                    .parse()
                    .map_err(|_| "an HTTP response has an invalid content-length")?,
            );
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    let end = if chunked {
        chunks_end(buf, start)?
    } else {
        let length: usize = length.ok_or("an HTTP response has no content-length")?;
        let end = start.saturating_add(length);
        (buf.len() >= end).then_some(end)
    };
    Ok(end.map(|end| Response {
        status,
        end,
        start,
        chunked,
    }))
}

/// The end of the chunks that start at `at`, if the last one has arrived.
fn chunks_end(buf: &[u8], mut at: usize) -> Result<Option<usize>, &'static str> {
    while let Some((data, next)) = chunk(buf, at)? {
        if data.is_empty() {
            return Ok(Some(next));
        }
        at = next;
    }
    Ok(None)
}

/// The chunk that starts at `at`, and the start of the next one. Trailers are not supported, because no known
/// server sends them.
fn chunk(buf: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, &'static str> {
    let Some(line) = memmem::find(&buf[at..], b"\r\n") else {
        return Ok(None);
    };
    let size = std::str::from_utf8(&buf[at..at + line])
        .ok()
        .and_then(|size| usize::from_str_radix(size.split(';').next()?.trim(), 16).ok())
        .ok_or("an HTTP response has an invalid chunk size")?;
    let data = at + line + 2;
    let end = data.saturating_add(size);
    Ok((buf.len() >= end.saturating_add(2)).then(|| (&buf[data..end], end + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_found_once_it_is_complete() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1";
        let found = response(bytes).expect("valid").expect("whole");
        assert_eq!((found.status, found.end), (200, 41));
        assert_eq!(found.body(bytes).as_ref(), b"abc");
        for cut in 0..41 {
            assert_eq!(response(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        assert!(response(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(response(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n").is_err());
        assert!(response(b"HTTP/1.1 204 No Content\r\n\r\n").is_ok());
    }

    #[test]
    fn chunks_are_joined() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nHTTP";
        let end = bytes.len() - 4;
        let found = response(bytes).expect("valid").expect("whole");
        assert_eq!((found.status, found.end), (200, end));
        assert_eq!(found.body(bytes).as_ref(), b"abc0123456789");
        for cut in 0..end {
            assert_eq!(response(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        assert!(response(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n").is_err());
    }
}
