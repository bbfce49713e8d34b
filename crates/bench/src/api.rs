//! Calls of the HTTP API: as bytes for the event loop, and blocking calls for the setup before a run.

use std::io::{Read, Write};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::http;
use crate::net::Target;

/// The bytes of one call, on a connection that is kept open.
pub(crate) fn request(target: &Target, key: &str, method: &str, path: &str, body: &str) -> Vec<u8> {
    let host = &target.host;
    let len = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Makes one call and waits for its response, which must be a success.
pub(crate) fn call(
    target: &Target,
    key: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> anyhow::Result<Value> {
    let mut stream = target
        .connect()
        .with_context(|| format!("cannot connect to {}", target.host))?;
    stream.write_all(&request(target, key, method, path, &body.to_string()))?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 16_384];
    loop {
        let count = stream.read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..count]);
        let Some(response) = http::response(&bytes).map_err(anyhow::Error::msg)? else {
            ensure!(count > 0, "{method} {path}: the server closed the connection");
            continue;
        };
        let (status, body) = (response.status, response.body(&bytes));
        ensure!(
            (200..300).contains(&status),
            "{method} {path}: status {status}: {}",
            String::from_utf8_lossy(&body)
        );
        return Ok(if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body)?
        });
    }
}
