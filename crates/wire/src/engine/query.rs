//! The query of an Engine.IO request.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{Protocol, Transport};

/// The pairs of a query that mean something to Engine.IO, as the client wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineQuery {
    /// `EIO`: the version, see [`EngineQuery::protocol`].
    pub eio: Option<String>,
    /// `transport`, see [`EngineQuery::transport`].
    pub transport: Option<String>,
    /// `sid`: the session, absent at the handshake.
    pub sid: Option<String>,
    /// `b64=1`: the client cannot read binary.
    pub b64: bool,
    /// `j`: the index of the JSONP callback, see [`EngineQuery::jsonp`].
    pub j: Option<String>,
}

impl EngineQuery {
    /// The version, when it is one we speak.
    pub fn protocol(&self) -> Option<Protocol> {
        self.eio.as_deref().and_then(Protocol::parse)
    }

    /// The transport, when it is one we speak.
    pub fn transport(&self) -> Option<Transport> {
        self.transport.as_deref().and_then(Transport::parse)
    }

    /// The callback's index when the client polls by JSONP: the digits of `j`, so that nothing else reaches the script.
    pub fn jsonp(&self) -> Option<u32> {
        let digits = self.j.as_deref()?.bytes().filter(u8::is_ascii_digit);
        Some(digits.fold(0u32, |n, digit| {
            n.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))
        }))
    }
}

/// Reads a raw query string, without its `?`. Of a repeated key the first counts; other pairs are the application's.
pub fn parse_query(query: &str) -> EngineQuery {
    let mut parsed = EngineQuery::default();
    let mut b64 = None;
    for (key, value) in query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    {
        let slot = match &*decoded(key) {
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
    parsed
}

/// Form decoding; what is not UTF-8 is replaced, so that it equals no name we know.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
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
    fn the_pairs_of_a_client() {
        let query = parse_query("EIO=4&transport=polling&t=Nx1&sid=a_B-1&token=%E6%97%A5&b64=1&j=12");
        assert_eq!(query.protocol(), Some(Protocol::V4));
        assert_eq!(query.transport(), Some(Transport::Polling));
        assert_eq!(query.sid.as_deref(), Some("a_B-1"));
        assert!(query.b64);
        assert_eq!(query.jsonp(), Some(12));
    }

    #[test]
    fn unknown_values_are_kept_but_mean_nothing() {
        let query = parse_query("EIO=5&transport=constructor&sid=&b64&j=x");
        assert_eq!((query.protocol(), query.transport()), (None, None));
        assert_eq!(query.eio.as_deref(), Some("5"));
        assert_eq!(query.sid.as_deref(), Some(""));
        assert!(!query.b64);
        assert_eq!(query.jsonp(), Some(0));
        assert_eq!(parse_query(""), EngineQuery::default());
        assert_eq!(parse_query("&&=&=&&"), EngineQuery::default());
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
