//! The handshake of a session, as the application sees it.

use std::net::SocketAddr;
use std::time::SystemTime;

use hyper::HeaderMap;
use mynah_wire::engine::{Protocol, Transport, decoded};

/// The request that opened a session.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// The query as it was sent, without the `?`.
    pub query: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The peer's address.
    pub address: SocketAddr,
    /// The version of Engine.IO.
    pub protocol: Protocol,
    /// The transport on which the session started.
    pub transport: Transport,
    /// When the request arrived.
    pub issued: SystemTime,
}

impl Handshake {
    /// The first value of `name` in the query, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        query_pairs(&self.query)
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// Removes everything from the query except the first pair with this name.
    pub fn retain_query(&mut self, name: &str) {
        let is_it = |pair: &&str| query_pairs(pair).any(|(key, _)| key == name);
        self.query = self.query.split('&').find(is_it).unwrap_or_default().to_owned();
    }
}

/// The decoded pairs of an `application/x-www-form-urlencoded` text (URL standard,
/// "application/x-www-form-urlencoded parsing"). Invalid UTF-8 becomes U+FFFD.
pub(crate) fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key).into_owned(), decoded(value).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pair_is_kept_unchanged() {
        for (query, retained) in [
            ("EIO=4&token=a%20b&token=c", "token=a%20b"),
            ("tok%65n=x&EIO=4", "tok%65n=x"),
            ("EIO=4&token", "token"),
            ("EIO=4&tokens=1", ""),
            ("", ""),
        ] {
            let mut handshake = Handshake {
                query: query.to_owned(),
                headers: HeaderMap::new(),
                address: ([127, 0, 0, 1], 1).into(),
                protocol: Protocol::V4,
                transport: Transport::Polling,
                issued: SystemTime::UNIX_EPOCH,
            };
            let before = handshake.query("token");
            handshake.retain_query("token");
            assert_eq!(handshake.query, retained, "{query}");
            assert_eq!(handshake.query("token"), before, "{query}");
        }
    }

    #[test]
    fn pairs_are_decoded() {
        let pairs: Vec<_> = query_pairs("a=1&b=%E4%BD%A0+x&&c&d=%zz%4").collect();
        let expected = [("a", "1"), ("b", "你 x"), ("c", ""), ("d", "%zz%4")];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
