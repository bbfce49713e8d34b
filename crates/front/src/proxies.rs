//! Proxies that are believed when they say for whom they speak.
//!
//! Invariant: what somebody says who is not trusted changes nothing. Addresses are compared in their canonical form: an IPv4 address that
//! IPv6 carries is the IPv4 address.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderName;

/// The header in which each proxy adds the address that it was asked from.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// An address with the number of bits that count, as in `10.0.0.0/8`; without it all count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_ipv4() == address.is_ipv4() && self.cut(address) == self.cut(self.address)
    }

    /// The bits that count.
    fn cut(&self, address: IpAddr) -> u128 {
        let (bits, width) = match address {
            IpAddr::V4(address) => (address.to_bits().into(), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        // Nothing is left where no bit counts, which is more than a shift takes.
        u128::checked_shr(bits, width - self.bits).unwrap_or(0)
    }
}

/// Why a text is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoNetwork(String);

impl std::fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoNetwork {}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let wrong = || {
            NoNetwork(format!(
                "{text:?} is neither an address nor a network such as \"10.0.0.0/8\" or \"2001:db8::/32\""
            ))
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| wrong())?;
        let address = written.to_canonical();
        let width = if address.is_ipv4() { 32 } else { 128 };
        // An IPv4 address that was written as one of IPv6 stands behind 96 bits.
        let before = if written.is_ipv6() && address.is_ipv4() {
            96
        } else {
            0
        };
        let bits = match bits {
            Some(bits) => bits
                .checked_sub(before)
                .filter(|bits| *bits <= width)
                .ok_or_else(wrong)?,
            None => width,
        };
        let network = Self { address, bits };
        let within = width - bits;
        let first = match address {
            IpAddr::V4(_) => {
                IpAddr::V4(((network.cut(address) as u32).checked_shl(within).unwrap_or(0)).into())
            }
            IpAddr::V6(_) => IpAddr::V6(network.cut(address).checked_shl(within).unwrap_or(0).into()),
        };
        if first != address {
            return Err(NoNetwork(format!(
                "{text:?} has bits beyond its first {bits}: write {first}/{bits} for the network, or {address} for this address alone"
            )));
        }
        Ok(network)
    }
}

/// The proxies that are trusted. Clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<[Network]>);

impl FromIterator<Network> for Proxies {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl Proxies {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address is one of them.
    pub fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// From where a request comes: `peer`, or, if that is trusted, the last address in `X-Forwarded-For` that is not. Its port is not known, and 0.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.trust(peer.ip()) {
            return peer;
        }
        // Each proxy adds at the end, so that what stands in front was written by somebody nearer to the client.
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

/// An address as proxies write it, some with a port.
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

    fn network(text: &str) -> Result<Network, String> {
        text.parse().map_err(|error: NoNetwork| error.to_string())
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
            let network = network(text).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{text} {outside}");
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
                network(text)
                    .unwrap_err()
                    .contains("is neither an address nor a network"),
                "{text}"
            );
        }
        let why = network("10.1.0.0/8").unwrap_err();
        assert!(
            why.contains("write 10.0.0.0/8 for the network, or 10.1.0.0 for"),
            "{why}"
        );
        assert!(network("2001:db8::1/32").unwrap_err().contains("2001:db8::/32"));
    }

    fn client(peer: &str, values: &[&'static str]) -> String {
        let proxies: Proxies = ["10.0.0.0/8", "192.168.1.1", "fd00::/8"]
            .map(|text| text.parse::<Network>().unwrap())
            .into_iter()
            .collect();
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
            // Not trusted: whatever it says.
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("203.0.113.9", &[], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // What the client itself wrote stands in front.
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
            // With ports, and of IPv6.
            ("fd00::1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("fd00::1", &["[2001:db8::7]"], "2001:db8::7"),
            ("fd00::1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            // What is no address ends it: the last hop that is known counts.
            ("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, nonsense, 10.3.3.3"], "10.3.3.3"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1,"], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, values), expected, "{peer} {values:?}");
        }
    }
}
