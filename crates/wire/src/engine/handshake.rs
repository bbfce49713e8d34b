//! The open packet, which is the response to a handshake, and the errors of refused HTTP requests.

use super::{Times, Transport};

/// Why an HTTP request is refused. The numbers are part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.message())]
pub enum HttpError {
    /// The query names an unknown transport.
    TransportUnknown = 0,
    /// There is no session with this `sid`.
    SessionUnknown = 1,
    /// A handshake with a method other than GET.
    BadHandshakeMethod = 2,
    /// The request is invalid, or does not fit the state of its session.
    BadRequest = 3,
    /// The query asks for a version (`EIO`) that the server does not support.
    UnsupportedProtocol = 5,
}

impl HttpError {
    /// The code in the response's body.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The message in the response's body.
    pub const fn message(self) -> &'static str {
        match self {
            Self::TransportUnknown => "Transport unknown",
            Self::SessionUnknown => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::UnsupportedProtocol => "Unsupported protocol version",
        }
    }

    /// The JSON body of the response.
    pub fn body(self) -> String {
        format!(r#"{{"code":{},"message":"{}"}}"#, self.code(), self.message())
    }
}

/// The body of the open packet, without its type digit. It has exactly the five keys that EIO4 test suites
/// require.
///
/// `sid` must be one of the server's own: it is written without JSON escapes.
pub fn open_packet(sid: &str, upgrades: &[Transport], times: &Times, max_payload: usize) -> String {
    let upgrades: Vec<String> = upgrades
        .iter()
        .map(|transport| format!("\"{}\"", transport.as_str()))
        .collect();
    format!(
        r#"{{"sid":"{sid}","upgrades":[{}],"pingInterval":{},"pingTimeout":{},"maxPayload":{max_payload}}}"#,
        upgrades.join(","),
        times.ping_interval,
        times.ping_timeout,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_a_body() {
        assert_eq!(
            HttpError::SessionUnknown.body(),
            r#"{"code":1,"message":"Session ID unknown"}"#
        );
    }

    #[test]
    fn the_open_packet_has_five_keys() {
        let times = Times {
            ping_interval: 25_000,
            ping_timeout: 20_000,
            upgrade_timeout: 10_000,
        };
        assert_eq!(
            open_packet("abc", &[Transport::WebSocket], &times, 1_000_000),
            r#"{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
        );
        let open: serde_json::Value = serde_json::from_str(&open_packet("x", &[], &times, 1)).unwrap();
        assert_eq!(open["upgrades"], serde_json::json!([]));
        assert_eq!(open.as_object().unwrap().len(), 5);
    }
}
