//! The checks of URLs to which the server sends requests.

use std::net::IpAddr;

use axum::http::Uri;

use super::Secret;

/// Adds a sentence to `problems` unless `url` is a valid http or https URL. `key` is the key that holds it.
pub(super) fn check(key: &str, url: &str, problems: &mut Vec<String>) {
    let fits = url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if url.contains('@') {
        // The password would appear in logs, so the sentence does not contain the URL either.
        problems.push(format!(
            "{key} must not contain a user or a password, because they are not sent; write any other @ as %40"
        ));
    } else if !fits {
        problems.push(format!("{key} must be an http or https URL, not {url:?}"));
    }
}

/// Adds sentences to `problems` unless the URL and the secret of a webhook, whose section is `path`, are
/// valid.
pub(super) fn check_webhook(
    path: &str,
    url: Option<&String>,
    secret: Option<&Secret>,
    problems: &mut Vec<String>,
) {
    if let Some(url) = url {
        check(&format!("{path}.url"), url, problems);
    }
    if secret.is_some_and(|secret| secret.expose().is_empty()) {
        problems.push(format!(
            "{path}.secret must not be empty; leave it out to send unsigned"
        ));
    }
}

/// Returns a warning if `url` is an http URL of another machine: the network can read and change such
/// requests.
pub(super) fn warning(key: &str, url: &str) -> Option<String> {
    let uri = url.parse::<Uri>().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let is_here = host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
    (uri.scheme_str() == Some("http") && !is_here).then(|| {
        format!("{key} is an http URL of another machine: anybody on the network can read and change requests and responses; use https")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_urls_of_other_machines_cause_a_warning() {
        for (url, warned) in [
            ("http://push.example/a", true),
            ("http://10.0.0.7:8080", true),
            ("http://localhost.example", true),
            ("http://[2001:db8::1]/", true),
            ("https://push.example/a", false),
            ("http://LOCALHOST:8080/", false),
            ("http://127.0.0.2/", false),
            ("http://[::1]:80/", false),
            ("http://[::ffff:127.0.0.1]/", false),
        ] {
            let said = warning("push.webhook.url", url);
            assert_eq!(said.is_some(), warned, "{url}");
            assert!(said.is_none_or(|said| said.starts_with("push.webhook.url is an http URL")));
        }
    }

    #[test]
    fn invalid_urls_are_refused_without_repeating_a_password() {
        let said = |url: &str| {
            let mut problems = Vec::new();
            check("push.webhook.url", url, &mut problems);
            problems.pop()
        };
        for fine in [
            "http://127.0.0.1:8080/push",
            "https://example.com",
            "http://[::1]/a?b=%40",
        ] {
            assert_eq!(said(fine), None);
        }
        for wrong in ["", "example.com", "ftp://example.com", "http:///x", "http://a b"] {
            assert!(
                said(wrong).unwrap().contains("must be an http or https URL"),
                "{wrong}"
            );
        }
        let why = said("https://user:hunter2@example.com/").unwrap();
        assert!(
            why.contains("must not contain a user") && !why.contains("hunter2"),
            "{why}"
        );
    }
}
