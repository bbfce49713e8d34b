//! Engine.IO 4 by long-polling over HTTP/1.1, like clients in browsers and in Node: one GET is always in
//! flight on the client's first connection, and at most one POST on a second connection, which is opened when
//! it is first needed.
//!
//! Packets that are sent while a POST is in flight are sent with the next one, in one body. A server may
//! close the second connection while it is unused (Node's does after five seconds); it is then opened again
//! when it is needed.

use serde_json::Value;

use crate::line::Line;
use crate::net::Target;

/// The separator between the packets of one body.
pub(crate) const SEPARATOR: u8 = 0x1e;

/// The request that opens a session.
pub(crate) fn handshake(Target { host, path, .. }: &Target) -> String {
    format!("GET {path}?EIO=4&transport=polling HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// The state of a polling client, except the connection for its GETs.
#[derive(Default)]
pub(crate) struct Polling {
    /// The bytes of a GET, once the session is open.
    pub(crate) get: Vec<u8>,
    /// The start of a POST, up to the value of its content-length.
    post: String,
    /// The connection for the POSTs.
    pub(crate) posts: Option<Line>,
    /// Packets for the next POST.
    waiting: String,
    /// Whether a POST is in flight.
    posting: bool,
}

impl Polling {
    /// The session is open. `packet` contains its id.
    pub(crate) fn opened(&mut self, Target { host, path, .. }: &Target, packet: &[u8]) -> Result<(), String> {
        let open: Value = packet
            .strip_prefix(b"0")
            .and_then(|json| serde_json::from_slice(json).ok())
            .unwrap_or_default();
        let sid = open["sid"]
            .as_str()
            .ok_or_else(|| format!("not an open packet: {}", String::from_utf8_lossy(packet)))?;
        let line = format!("{path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: {host}\r\n");
        self.get = format!("GET {line}\r\n").into_bytes();
        self.post = format!("POST {line}Content-Type: text/plain;charset=UTF-8\r\nContent-Length: ");
        Ok(())
    }

    /// Adds a packet to the next POST.
    pub(crate) fn queue(&mut self, packet: &str) {
        if !self.waiting.is_empty() {
            self.waiting.push(char::from(SEPARATOR));
        }
        self.waiting.push_str(packet);
    }

    /// The bytes of the next POST, if there is something to send and no POST in flight.
    pub(crate) fn next_post(&mut self) -> Option<String> {
        if self.posting || self.waiting.is_empty() {
            return None;
        }
        self.posting = true;
        let request = format!("{}{}\r\n\r\n{}", self.post, self.waiting.len(), self.waiting);
        self.waiting.clear();
        Some(request)
    }

    /// The POST in flight was answered.
    pub(crate) fn posted(&mut self, status: u16) -> Result<(), String> {
        if !self.posting || status != 200 {
            return Err(format!("a POST was answered with status {status}"));
        }
        self.posting = false;
        Ok(())
    }

    /// The server has closed the connection for the POSTs.
    pub(crate) fn connection_closed(&mut self) -> Result<(), &'static str> {
        self.posts = None;
        if self.posting {
            return Err("the server closed a connection instead of answering a POST");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_post_at_a_time_carries_all_waiting_packets() {
        let target = Target::parse("http://127.0.0.1:3001", "/socket.io/").expect("valid");
        let mut polling = Polling::default();
        assert!(polling.opened(&target, b"0{}").is_err());
        polling
            .opened(&target, br#"0{"sid":"abc"}"#)
            .expect("an open packet");
        assert!(
            polling
                .get
                .starts_with(b"GET /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\n")
        );
        assert_eq!(polling.next_post(), None);
        polling.queue("40");
        let first = polling.next_post().expect("a packet waits");
        assert!(first.ends_with("\r\nContent-Length: 2\r\n\r\n40"), "{first}");
        polling.queue("3");
        polling.queue("42[]");
        assert_eq!(polling.next_post(), None);
        polling.posted(200).expect("a POST is in flight");
        let second = polling.next_post().expect("a packet waits");
        assert!(
            second.ends_with("Content-Length: 6\r\n\r\n3\u{1e}42[]"),
            "{second}"
        );
        assert!(polling.connection_closed().is_err());
        assert!(polling.posted(400).is_err());
        polling.posted(200).expect("a POST is in flight");
        assert!(polling.connection_closed().is_ok());
    }
}
