//! Trusted proxies: the server believes them when they report the address of a client.
//!
//! Invariants: an address that an untrusted peer reports has no effect. Addresses are compared in their
//! canonical form: an IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`) is the IPv4 address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderName;
use ipnet::IpNet;

/// The header to which each proxy appends the address of the peer that sent it the request.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The error for a text that is not a network: one sentence that says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidNetwork(String);

/// Parses a network such as `10.0.0.0/8`, or an address. An IPv4 network that is written as IPv6
/// (`::ffff:10.0.0.0/104`) becomes the IPv4 network.
pub(crate) fn network(text: &str) -> Result<IpNet, InvalidNetwork> {
    let network = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| Some(text.parse::<IpAddr>().ok()?.into()));
    let canonical = network.and_then(|network| match network.addr().to_canonical() {
        // The IPv4 address is in the last 32 of 128 bits.
        address @ IpAddr::V4(_) if network.addr().is_ipv6() => {
            IpNet::new(address, network.prefix_len().checked_sub(96)?).ok()
        }
        _ => Some(network),
    });
    let network = canonical.ok_or_else(|| {
        InvalidNetwork(format!(
            "{text:?} is neither an address nor a network such as \"10.0.0.0/8\" or \"2001:db8::/32\""
        ))
    })?;
    if network.trunc() != network {
        return Err(InvalidNetwork(format!(
            "{text:?} has bits beyond its first {}: write {} for the network, or {} for this address alone",
            network.prefix_len(),
            network.trunc(),
            network.addr()
        )));
    }
    Ok(network)
}

/// The trusted proxies. Clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<[IpNet]>);

impl Proxies {
    /// Parses a list of addresses and networks such as `10.0.0.0/8`.
    pub fn parse(list: &[impl AsRef<str>]) -> Result<Self, InvalidNetwork> {
        let networks = list.iter().map(|text| network(text.as_ref()));
        networks.collect::<Result<_, _>>().map(Self)
    }

    /// Whether this is the address of a trusted proxy.
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client that sent a request: `peer`, or, if `peer` is a trusted proxy, the last address in
    /// `X-Forwarded-For` that is not one. The header does not give the client's port, which is 0 then.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.trust(peer.ip()) {
            return peer;
        }
        // Each proxy appends an address, so the entries before it were written by the client or by proxies
        // nearer to the client.
        let hops = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .rev()
            .flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
        let mut client = peer;
        for hop in hops {
            let Some(address) = address(hop.trim()) else { break };
            client = SocketAddr::new(address, 0);
            if !self.trust(address) {
                break;
            }
        }
        client
    }
}

/// Parses an address as proxies write it: with or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let parsed = bare.unwrap_or(text).parse::<IpAddr>();
    let address = parsed.or_else(|_| text.parse::<SocketAddr>().map(|both| both.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn why(text: &str) -> String {
        network(text).unwrap_err().to_string()
    }

    #[test]
    fn networks_contain_what_they_should() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "255.1.2.3", "2001:db8::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1/128", "::1", "::2"),
        ] {
            let proxies = Proxies::parse(&[text]).unwrap();
            assert!(proxies.trust(inside.parse().unwrap()), "{text} {inside}");
            assert!(!proxies.trust(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_said_clearly() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "example.com",
            "10.0.0.0/-1",
            "::/129",
            "10.0.0.0/8/8",
            "::ffff:10.0.0.0/8",
        ] {
            assert!(
                why(text).contains("is neither an address nor a network"),
                "{text}"
            );
        }
        let two = why("10.1.0.0/8");
        assert!(
            two.contains("write 10.0.0.0/8 for the network, or 10.1.0.0 for"),
            "{two}"
        );
        assert!(why("2001:db8::1/32").contains("2001:db8::/32"));
    }

    fn client(peer: &str, values: &[&'static str]) -> String {
        let proxies = Proxies::parse(&["10.0.0.0/8", "192.168.1.1", "fd00::/8"]).unwrap();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 5);
        proxies.client(peer, &headers).ip().to_string()
    }

    #[test]
    fn the_last_address_that_is_not_trusted_is_the_client() {
        for (peer, values, expected) in [
            // The peer is not trusted, so its header is ignored.
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("203.0.113.9", &[], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // The client itself may have written the first entries.
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["10.9.9.9,198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            // Several trusted proxies.
            (
                "10.0.0.1",
                &["1.1.1.1, 198.51.100.1, 192.168.1.1, 10.3.3.3"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["198.51.100.1", "192.168.1.1"], "198.51.100.1"),
            ("10.0.0.1", &["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
            // Addresses with ports, and IPv6 addresses.
            ("fd00::1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("fd00::1", &["[2001:db8::7]"], "2001:db8::7"),
            ("fd00::1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            // The search ends at an entry that is not an address: the address found before it is used.
            ("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, nonsense, 10.3.3.3"], "10.3.3.3"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1,"], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, values), expected, "{peer} {values:?}");
        }
    }
}
