//! URLs that are called.

/// Adds a sentence unless `url` is one that can be called; `key` is where it stands.
pub(super) fn check(key: &str, url: &str, problems: &mut Vec<String>) {
    let fits = url.parse::<axum::http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !fits {
        problems.push(format!("{key} must be an http or https URL, it is {url:?}"));
    }
}
