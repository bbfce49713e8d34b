//! Calls of the HTTP API: as bytes for the event loop, and blocking for what is set up before a run.

use std::io::{Read, Write};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::net::Target;

/// The bytes of one call on a connection that is kept open.
pub(crate) fn request(target: &Target, key: &str, method: &str, path: &str, body: &str) -> Vec<u8> {
    let host = &target.host;
    let len = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// One whole response inside a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// Where its body begins.
    pub(crate) body: usize,
    /// Where the next response begins.
    pub(crate) end: usize,
}

/// Finds the response at the start of `buf`. `Ok(None)` when it isn't whole yet.
pub(crate) fn response(buf: &[u8]) -> Result<Option<Response>, &'static str> {
    let Some(head) = memchr::memmem::find(buf, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&buf[..head]).map_err(|_| "the head of an HTTP response is not text")?;
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or("an HTTP response has no status")?;
    let length = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse());
    let length = match (length, status) {
        (Some(Ok(length)), _) => length,
        (None, 204) => 0,
        _ => return Err("an HTTP response has no content-length"),
    };
    let body = head + 4;
    Ok((buf.len() >= body + length).then_some(Response {
        status,
        body,
        end: body + length,
    }))
}

/// Makes one call and waits for its answer, which must be a success.
pub(crate) fn call(
    target: &Target,
    key: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> anyhow::Result<Value> {
    let mut stream = target
        .connect()
        .with_context(|| format!("no connection to {}", target.host))?;
    stream.write_all(&request(target, key, method, path, &body.to_string()))?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 16_384];
    loop {
        let count = stream.read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..count]);
        match response(&bytes).map_err(anyhow::Error::msg)? {
            Some(Response {
                status: 200..300,
                body,
                end,
            }) if body == end => return Ok(Value::Null),
            Some(Response {
                status: 200..300,
                body,
                end,
            }) => return Ok(serde_json::from_slice(&bytes[body..end])?),
            Some(Response { status, body, end }) => {
                bail!(
                    "{method} {path}: status {status}: {}",
                    String::from_utf8_lossy(&bytes[body..end])
                )
            }
            None if count == 0 => bail!("{method} {path}: the server closed the connection"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_found_whole_and_only_then() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1";
        assert_eq!(
            response(bytes),
            Ok(Some(Response {
                status: 200,
                body: 38,
                end: 41
            }))
        );
        assert_eq!(response(&bytes[..40]), Ok(None));
        assert_eq!(response(&bytes[..10]), Ok(None));
        assert!(response(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(response(b"HTTP/1.1 204 No Content\r\n\r\n").is_ok());
    }
}
