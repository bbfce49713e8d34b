//! Lists of origins of web pages (RFC 6454).

/// A list of origins such as `https://chat.example.com`. An entry such as `https://*.example.com` stands for
/// all subdomains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    /// The text before the star and the text after it, in lower case.
    Below(String, String),
}

/// The error for a text that is not an origin. It contains the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an origin such as \"https://chat.example.com\" or \"https://*.example.com\", without a path"
)]
pub struct InvalidOrigin(String);

impl Origins {
    /// Parses a list. It may contain `null` and `file://`, which browsers send for pages without an origin.
    pub fn parse(list: &[impl AsRef<str>]) -> Result<Self, InvalidOrigin> {
        let patterns = list.iter().map(|text| Pattern::parse(text.as_ref()));
        patterns.collect::<Result<_, _>>().map(Self)
    }

    /// Whether `origin` is in the list.
    pub fn contains(&self, origin: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(origin))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        let wrong = || InvalidOrigin(text.to_owned());
        if ["null", "file://"].contains(&text) {
            return Ok(Self::Exact(text.to_owned()));
        }
        let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
        let (before, behind) = host.split_once('*').unwrap_or(("", host));
        let is_host = |text: &str| !text.is_empty() && !text.contains(['/', '*', '?', '#', '@', ' ', ',']);
        let star = before.len() + behind.len() < host.len();
        if scheme.is_empty() || !is_host(behind) || !before.is_empty() {
            return Err(wrong());
        }
        match star {
            false => Ok(Self::Exact(text.to_owned())),
            true if behind.starts_with('.') && behind.len() > 1 => {
                let before = format!("{scheme}://").to_ascii_lowercase();
                Ok(Self::Below(before, behind.to_ascii_lowercase()))
            }
            true => Err(wrong()),
        }
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            Self::Below(before, behind) => {
                let origin = origin.to_ascii_lowercase();
                let host = origin.strip_prefix(before.as_str());
                let names = host.and_then(|host| host.strip_suffix(behind.as_str()));
                let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
                names.is_some_and(|names| !names.is_empty() && names.bytes().all(is_name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_contain_what_they_name() {
        let list = [
            "https://a.example",
            "https://*.b.example",
            "http://*.c.example:8080",
            "null",
        ];
        let list = Origins::parse(&list).unwrap();
        for allowed in [
            "https://a.example",
            "https://A.example",
            "https://x.b.example",
            "https://y.x.b.example",
            "http://x.c.example:8080",
            "null",
        ] {
            assert!(list.contains(allowed), "{allowed}");
        }
        for refused in [
            "http://a.example",
            "https://a.example:444",
            "https://a.example.evil",
            "https://b.example",
            "https://.b.example",
            "https://evilb.example",
            "https://evil/.b.example",
            "https://evil?.b.example",
            "https://evil:1.b.example",
            "https://user@x.b.example",
            "http://x.b.example",
            "http://x.c.example",
            "https://é.b.example",
            "",
            "?",
            "https://",
        ] {
            assert!(!list.contains(refused), "{refused}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "*",
            "a.example",
            "https://",
            "https://*",
            "https://*.",
            "https://*example.com",
            "https://a.*.example",
            "https://*.*.example",
            "https://a.example/",
            "https://a.example/x",
            "://a",
            "https://x@a.example",
        ] {
            assert!(Origins::parse(&[text]).is_err(), "{text}");
        }
    }
}
