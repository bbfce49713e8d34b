//! URLs that are called.

use axum::http::Uri;

/// Adds a sentence unless `url` is one that can be called; `key` is where it stands.
pub(super) fn check(key: &str, url: &str, problems: &mut Vec<String>) {
    let fits = url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if url.contains('@') {
        // It would be seen in logs; the sentence does not repeat it either.
        problems.push(format!(
            "{key} must not have a user or a password, which would not be sent; an @ elsewhere is written %40"
        ));
    } else if !fits {
        problems.push(format!("{key} must be an http or https URL, it is {url:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_called_is_said_and_passwords_are_not() {
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
            why.contains("must not have a user") && !why.contains("hunter2"),
            "{why}"
        );
    }
}
