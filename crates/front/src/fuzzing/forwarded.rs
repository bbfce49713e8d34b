//! `X-Forwarded-For`, and the trusted proxies. An input is text: networks in the first line, the address that
//! connects in the second, and a header in each of the others.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderMap, HeaderValue};

use crate::proxies::{FORWARDED_FOR, Proxies, network};

/// Trusted networks, the address that connects, and values of `X-Forwarded-For`.
pub(super) fn forwarded(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n');
    let networks: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split(',')
        .filter(|text| network(text).is_ok())
        .collect();
    let proxies = Proxies::parse(&networks).expect("each network is valid by itself");
    for text in networks {
        let address = text.split_once('/').map_or(text, |(address, _)| address);
        let address: IpAddr = address.parse().expect("a network begins with an address");
        assert!(proxies.trust(address), "{text}");
    }
    let Some(peer) = lines.next().and_then(|text| text.parse::<IpAddr>().ok()) else {
        return;
    };
    let peer = SocketAddr::new(peer.to_canonical(), 5_000);
    let values: Vec<HeaderValue> = lines
        .filter_map(|text| HeaderValue::from_str(text).ok())
        .collect();
    let client = |values: &[HeaderValue]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, value.clone());
        }
        proxies.client(peer, &headers)
    };
    let found = client(&values);
    assert_eq!(found.ip(), found.ip().to_canonical());
    if !proxies.trust(peer.ip()) {
        assert_eq!(found, peer, "an untrusted peer cannot name another client");
        return;
    }
    if found != peer {
        let mut named = values
            .iter()
            .flat_map(|value| value.to_str().unwrap_or_default().split(','))
            .filter_map(|hop| {
                let hop = hop.trim();
                let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
                let both = hop.parse().map(|both: SocketAddr| both.ip());
                bare.unwrap_or(hop).parse().or(both).ok()
            });
        assert!(
            named.any(|ip: IpAddr| ip.to_canonical() == found.ip()),
            "no header contains {found}"
        );
    }
    // The values that a client writes precede those that the first trusted proxy adds.
    if !proxies.trust(found.ip()) {
        for lie in ["192.0.2.1", "10.0.0.1, 127.0.0.1", "unknown", ",", "::1,"] {
            let lied = [&[HeaderValue::from_static(lie)], &values[..]].concat();
            assert_eq!(client(&lied), found, "{lie} changes the client's address");
        }
    }
}
