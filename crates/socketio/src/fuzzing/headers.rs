//! Headers that identify a client, and the settings for them. An input is text: its first line is the
//! setting, and each other line is a header.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::Uri;

use crate::front::cors::Cors;
use crate::front::origin::Origins;
use crate::front::proxies::{FORWARDED_FOR, Network, Proxies};
use crate::http::Encoding;
use crate::upgrade::is_websocket;

fn lines(data: &[u8]) -> Option<std::str::Split<'_, char>> {
    Some(std::str::from_utf8(data).ok()?.split('\n'))
}

/// Trusted networks, the address that connects, and values of `X-Forwarded-For`.
pub(super) fn forwarded(data: &[u8]) {
    let Some(mut lines) = lines(data) else { return };
    let networks: Vec<Network> = lines
        .next()
        .unwrap_or_default()
        .split(',')
        .filter_map(|text| {
            let network: Network = text.parse().ok()?;
            let address = text.split_once('/').map_or(text, |(address, _)| address);
            let address: IpAddr = address.parse().expect("a network begins with an address");
            assert!(network.contains(address), "{text}");
            Some(network)
        })
        .collect();
    let proxies: Proxies = networks.into_iter().collect();
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

/// Listed origins, the `Host`, and other headers of a browser. A line is an `origin` unless it begins with
/// the name of another header.
pub(super) fn origin(data: &[u8]) {
    let Some(mut lines) = lines(data) else { return };
    let patterns: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let patterns: Vec<&str> = patterns
        .into_iter()
        .filter(|pattern| Origins::parse(&[pattern]).is_ok())
        .collect();
    let list = Origins::parse(&patterns).expect("each pattern is valid by itself");
    let mut headers = HeaderMap::new();
    if let Some(host) = lines.next().and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(header::HOST, host);
    }
    for line in lines {
        let (name, text) = [
            ("accept-encoding:", header::ACCEPT_ENCODING),
            ("upgrade:", header::UPGRADE),
        ]
        .into_iter()
        .find_map(|(start, name)| Some((name, line.strip_prefix(start)?)))
        .unwrap_or((header::ORIGIN, line));
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.append(name, value);
        }
    }
    for origin in headers.get_all(header::ORIGIN) {
        one_origin(&patterns, &list, origin);
    }
    let reflects = Cors::Origins(list);
    assert!(Cors::Any.admits(&headers) && Cors::Reflect.admits(&headers));
    // A list only admits more origins.
    assert!(reflects.admits(&headers) || !Cors::None.admits(&headers));
    let says = |name| {
        let value = headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        value.unwrap_or_default().to_ascii_lowercase()
    };
    if Encoding::accepted(&headers).is_some() {
        let accept = says(header::ACCEPT_ENCODING);
        assert!(accept.contains("gzip") || accept.contains("deflate"), "{accept}");
    }
    if is_websocket(&headers) {
        assert!(says(header::UPGRADE).contains("websocket"));
    }
}

fn one_origin(patterns: &[&str], list: &Origins, origin: &HeaderValue) {
    let text = origin.to_str().unwrap_or("?");
    let listed = list.contains(text);
    let mut answer = HeaderMap::new();
    Cors::Origins(list.clone()).allow(Some(origin.clone()), &mut answer);
    let reflected = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    assert_eq!(reflected.is_some(), listed);
    assert!(reflected.is_none_or(|reflected| reflected == origin));
    if !listed {
        return;
    }
    // Another parser's opinion of a URL's host: it is the listed one, or a subdomain of it.
    let host = |text: &str| {
        text.parse::<Uri>()
            .ok()
            .and_then(|uri| Some(uri.host()?.to_ascii_lowercase()))
    };
    let below = |pattern: &&str| match pattern.split_once("://*.") {
        None => pattern.eq_ignore_ascii_case(text),
        Some((scheme, domain)) => match (host(text), host(&format!("{scheme}://{domain}"))) {
            (Some(host), Some(domain)) => host.ends_with(&format!(".{domain}")),
            (None, Some(_)) => false,
            // The pattern has no host that a browser could use.
            (_, None) => true,
        },
    };
    assert!(patterns.iter().any(below), "{text} is in {patterns:?}");
}
