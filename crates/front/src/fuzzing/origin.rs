//! `Origin`, and the allowed origins. An input is text: patterns of origins in the first line, the `Host` in
//! the second, and a header in each of the others.

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::Uri;

use crate::cors::Cors;
use crate::origin::Origins;

/// Patterns of origins, the `Host`, and values of `Origin`.
pub(super) fn origin(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n');
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
        if let Ok(value) = HeaderValue::from_str(line) {
            headers.append(header::ORIGIN, value);
        }
    }
    for origin in headers.get_all(header::ORIGIN) {
        one_origin(&patterns, &list, origin);
    }
    let reflects = Cors::Origins(list);
    assert!(Cors::Any.admits(&headers) && Cors::Reflect.admits(&headers));
    // A list of origins admits every request that is admitted without one.
    assert!(reflects.admits(&headers) || !Cors::None.admits(&headers));
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
    // Another parser of URLs must find a host that is the listed one or a subdomain of it.
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
