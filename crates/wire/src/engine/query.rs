//! The query of an Engine.IO request.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{Protocol, Transport};

/// The parameters of a query that Engine.IO knows, as the client wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineQuery {
    /// `EIO`: the version. See [`EngineQuery::protocol`].
    pub eio: Option<String>,
    /// `transport`: see [`EngineQuery::transport`].
    pub transport: Option<String>,
    /// `sid`: the session's id. A handshake has none.
    pub sid: Option<String>,
    /// `b64=1`: the client cannot read binary. See [`EngineQuery::dialect`].
    pub b64: bool,
    /// `t` has the form that clients before 1.4 write. See [`EngineQuery::dialect`].
    pub old_timestamp: bool,
    /// `j`: the index of the JSONP callback. See [`EngineQuery::jsonp`].
    pub j: Option<String>,
}

/// What a client's handshake says about how it reads and writes. The session keeps it, because later requests
/// do not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// What the client can read.
    pub reads: Reads,
    /// The handshake said `EIO=2`. Over a WebSocket, socket.io-client 1.0 encodes text as UTF-8 twice, and
    /// decodes twice what it receives. Other clients that say 2, such as cocos2d-x, do not.
    pub eio2: bool,
}

/// What a client can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reads {
    /// Text and binary.
    Both,
    /// Text only: binary messages are written as base64.
    Text,
    /// Text and binary over WebSocket, but on polling only bodies in the binary form of EIO3.
    ///
    /// A browser with socket.io-client 1.0 to 1.3 reads any other body as an empty one, and opens a new
    /// session at once. `EIO` does not distinguish it from later clients.
    Octets,
}

impl EngineQuery {
    /// The version, if it is supported. With `eio2`, a client that says 2 or nothing is served as one that
    /// says 3: the differences between the two do not concern the packets that the server sends.
    pub fn protocol(&self, eio2: bool) -> Option<Protocol> {
        match self.eio.as_deref() {
            None | Some("2") if eio2 => Some(Protocol::V3),
            eio => eio.and_then(Protocol::parse),
        }
    }

    /// The id of the session; `None` if the request is a handshake. As in Node's server, an empty `sid` also
    /// asks for a new session.
    pub fn session(&self) -> Option<&str> {
        self.sid.as_deref().filter(|sid| !sid.is_empty())
    }

    /// How the client reads and writes.
    pub fn dialect(&self) -> Dialect {
        Dialect {
            reads: match (self.b64, self.old_timestamp) {
                (true, _) => Reads::Text,
                (false, true) => Reads::Octets,
                (false, false) => Reads::Both,
            },
            eio2: self.eio.as_deref() == Some("2"),
        }
    }

    /// The transport, if it is supported.
    pub fn transport(&self) -> Option<Transport> {
        self.transport.as_deref().and_then(Transport::parse)
    }

    /// The index of the callback, if the client polls by JSONP. It is made of the digits of `j` alone, so
    /// that no other text can get into the script.
    pub fn jsonp(&self) -> Option<u32> {
        let digits = self.j.as_deref()?.bytes().filter(u8::is_ascii_digit);
        Some(digits.fold(0u32, |n, digit| {
            n.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))
        }))
    }
}

/// Reads a query string, without its `?`. If a key is repeated, the first one counts. Unknown keys belong to
/// the application.
pub fn parse_query(query: &str) -> EngineQuery {
    let mut parsed = EngineQuery::default();
    let (mut b64, mut timestamp) = (None, None);
    for (key, value) in query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    {
        let slot = match &*decoded(key) {
            "t" => {
                timestamp.get_or_insert_with(|| is_old_timestamp(value));
                continue;
            }
            "EIO" => &mut parsed.eio,
            "transport" => &mut parsed.transport,
            "sid" => &mut parsed.sid,
            "b64" => &mut b64,
            "j" => &mut parsed.j,
            _ => continue,
        };
        slot.get_or_insert_with(|| decoded(value).into_owned());
    }
    parsed.b64 = b64.is_some_and(|value| !value.is_empty());
    parsed.old_timestamp = timestamp.unwrap_or(false);
    parsed
}

/// Whether `t` is of a client before 1.4: such clients write the milliseconds since 1970, a hyphen and a
/// counter. Later clients write the time in base 64.
fn is_old_timestamp(value: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    value
        .split_once('-')
        .is_some_and(|(time, count)| time.len() == 13 && digits(time) && digits(count))
}

/// Decodes a name or a value of `application/x-www-form-urlencoded` (URL standard,
/// "application/x-www-form-urlencoded parsing"). Invalid UTF-8 is replaced by U+FFFD, so that the result
/// equals no known name.
pub fn decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_client_is_read() {
        let query = parse_query("EIO=4&transport=polling&t=Nx1&sid=a_B-1&token=%E6%97%A5&b64=1&j=12");
        assert_eq!(query.protocol(false), Some(Protocol::V4));
        assert_eq!(query.transport(), Some(Transport::Polling));
        assert_eq!(query.sid.as_deref(), Some("a_B-1"));
        assert!(query.b64);
        assert_eq!(query.jsonp(), Some(12));
    }

    #[test]
    fn unknown_values_are_kept_but_ignored() {
        let query = parse_query("EIO=5&transport=constructor&sid=&b64&j=x");
        assert_eq!((query.protocol(true), query.transport()), (None, None));
        assert_eq!(query.eio.as_deref(), Some("5"));
        assert_eq!((query.sid.as_deref(), query.session()), (Some(""), None));
        assert!(!query.b64);
        assert_eq!(query.jsonp(), Some(0));
        assert_eq!(parse_query(""), EngineQuery::default());
        assert_eq!(parse_query("&&=&=&&"), EngineQuery::default());
    }

    #[test]
    fn clients_before_eio3_are_served_as_eio3_only_if_enabled() {
        for (query, protocol) in [
            ("transport=polling", Some(Protocol::V3)),
            ("EIO=2", Some(Protocol::V3)),
            ("EIO=3", Some(Protocol::V3)),
            ("EIO=4", Some(Protocol::V4)),
            ("EIO=1", None),
            ("EIO=", None),
            ("EIO=5", None),
        ] {
            assert_eq!(parse_query(query).protocol(true), protocol, "{query}");
        }
        for query in ["transport=polling", "EIO=2"] {
            assert_eq!(parse_query(query).protocol(false), None, "{query}");
        }
    }

    #[test]
    fn clients_that_read_only_octets_are_recognised_by_their_timestamp() {
        for (query, reads) in [
            ("EIO=3&t=1448884800000-0", Reads::Octets),
            ("EIO=3&t=1448884800000-17&b64=1", Reads::Text),
            ("EIO=3&b64=true", Reads::Text),
            // The official test suite sends no `t`; later clients send one in base 64, which may contain a
            // hyphen.
            ("EIO=3", Reads::Both),
            ("EIO=3&t=LZywzeV", Reads::Both),
            ("EIO=3&t=1448884800-00-1", Reads::Both),
            ("EIO=3&t=1448884800000", Reads::Both),
            ("EIO=3&t=1448884800000-", Reads::Both),
            ("EIO=3&t=1448884800000-x", Reads::Both),
        ] {
            assert_eq!(parse_query(query).dialect().reads, reads, "{query}");
        }
    }

    #[test]
    fn the_first_of_a_repeated_key_counts() {
        assert_eq!(parse_query("sid=a&sid=b").sid.as_deref(), Some("a"));
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(parse_query("s%69d=a%2Bb+c").sid.as_deref(), Some("a+b c"));
        assert_eq!(parse_query("sid=%ff%").sid.as_deref(), Some("\u{fffd}%"));
        assert_eq!(parse_query("j=1);alert(2").jsonp(), Some(12));
    }
}
