//! The token by which a node recognises the requests of other nodes, and the names of what they contain.
//!
//! Invariant: a wrong token takes as long to compare as the right one, and no token is shown.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use subtle::ConstantTimeEq;

/// All paths of requests between nodes are below this one.
pub(crate) const BELOW: &str = "/internal/";
/// Answers 204: whether this is a node of the same cluster.
pub(crate) const HELLO: &str = "/internal/hello";
/// A request of a client, with its query.
pub(crate) const SESSION: &str = "/internal/session";
/// Ends the pending GET of the session in the query.
pub(crate) const END_POLL: &str = "/internal/end-poll";
/// Closes the session in the query, so that its client reconnects.
pub(crate) const RECONNECT: &str = "/internal/reconnect";

/// The header with the token.
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("x-mynah-token");
/// The header with the address of the client.
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("x-mynah-client");

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Token(HeaderValue);

impl Token {
    /// The token that is made of this key.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let token: String = hmac::sign(&key, b"forwarded request")
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // Digits of hexadecimal numbers are allowed in headers.
        let mut value = HeaderValue::from_str(&token).unwrap_or_else(|_| HeaderValue::from_static("?"));
        value.set_sensitive(true);
        Self(value)
    }

    /// The value of the header.
    pub(crate) fn value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Whether this is the token in these headers.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(TOKEN).map_or(&[][..], HeaderValue::as_bytes);
        given.ct_eq(self.0.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_of_the_same_key_is_right() {
        let token = Token::new(&[1; 32]);
        let with = |value: &[u8]| HeaderMap::from_iter([(TOKEN, HeaderValue::from_bytes(value).unwrap())]);
        let right = token.value().as_bytes().to_vec();
        assert_eq!(right.len(), 64);
        assert!(Token::new(&[1; 32]).is_in(&with(&right)));
        assert!(!Token::new(&[2; 32]).is_in(&with(&right)));
        for wrong in [&right[..63], &[&right[..], b"0"].concat(), b"", b"?"] {
            assert!(!token.is_in(&with(wrong)));
        }
        assert!(!token.is_in(&HeaderMap::new()));
        assert_eq!(format!("{token:?}"), "Token(Sensitive)");
    }
}
