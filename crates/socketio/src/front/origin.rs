//! Origins of web pages (RFC 6454): which of them may connect.

use hyper::header::{self, HeaderMap, HeaderValue};

use crate::config::Cors;

/// A list of origins: `https://chat.example.com`, or all below a domain: `https://*.example.com`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    /// What stands before and behind the star.
    Below(String, String),
}

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoOrigin(String);

impl std::fmt::Display for NoOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = &self.0;
        write!(
            f,
            "{text:?} is no origin such as \"https://chat.example.com\" or \"https://*.example.com\", without a path"
        )
    }
}

impl std::error::Error for NoOrigin {}

impl Origins {
    /// Reads a list. `null` and `file://`, which browsers send for pages without an origin, are taken as they are.
    pub fn parse(list: &[impl AsRef<str>]) -> Result<Self, NoOrigin> {
        let patterns = list.iter().map(|text| Pattern::parse(text.as_ref()));
        patterns.collect::<Result<_, _>>().map(Self)
    }

    /// Whether `origin` is in the list.
    pub fn contains(&self, origin: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(origin))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, NoOrigin> {
        let wrong = || NoOrigin(text.to_owned());
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
                Ok(Self::Below(format!("{scheme}://"), behind.to_owned()))
            }
            true => Err(wrong()),
        }
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            Self::Below(before, behind) => {
                let Some(middle) = origin.len().checked_sub(before.len() + behind.len()) else {
                    return false;
                };
                let (from, to) = (before.len(), before.len() + middle);
                let (Some(scheme), Some(names), Some(domain)) =
                    (origin.get(..from), origin.get(from..to), origin.get(to..))
                else {
                    return false;
                };
                scheme.eq_ignore_ascii_case(before)
                    && domain.eq_ignore_ascii_case(behind)
                    && !names.is_empty()
                    && names
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            }
        }
    }
}

impl Cors {
    /// Whether the page that sent these headers may connect, if it was one: programs send no `Origin`. A page of ours always may.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let listed = match self {
            Self::Any | Self::Reflect => return true,
            Self::None => None,
            Self::Origins(list) => Some(list),
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        headers.get_all(header::ORIGIN).iter().all(|origin| {
            let origin = origin.to_str().unwrap_or("?");
            listed.is_some_and(|list| list.contains(origin)) || host.is_some_and(|host| is_own(origin, host))
        })
    }

    /// Whether `origin` gets the headers that let it read the answer.
    pub(crate) fn lists(list: &Origins, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|origin| list.contains(origin))
    }
}

/// Whether `origin` is what was asked, going by the `Host` header. What speaks TLS may be a proxy, so that the scheme says nothing.
fn is_own(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let plain = |text: &str| text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase();
    !authority.is_empty() && plain(authority) == plain(host)
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

    fn admits(cors: &Cors, host: &'static str, origins: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_static(origin));
        }
        cors.admits(&headers)
    }

    #[test]
    fn programs_and_our_own_pages_are_admitted() {
        let listed = Cors::Origins(Origins::parse(&["https://a.example"]).unwrap());
        assert!(admits(&listed, "h", &[]));
        assert!(admits(&listed, "h", &["https://a.example"]));
        assert!(!admits(&listed, "h", &["https://b.example"]));
        assert!(!admits(&listed, "h", &["https://a.example", "https://b.example"]));
        assert!(!admits(&listed, "a.example", &["null"]));
        for (origin, host, own) in [
            ("http://h", "h", true),
            ("http://h:80", "h", true),
            ("https://h", "h:443", true),
            ("https://H", "h", true),
            ("http://127.0.0.1:3001", "127.0.0.1:3001", true),
            ("http://[::1]:3001", "[::1]:3001", true),
            ("http://h:81", "h", false),
            ("http://h", "h:443", false),
            ("ftp://h", "h", false),
            ("http://h.evil", "h", false),
            ("http://", "", false),
            ("http://evil", "h", false),
        ] {
            assert_eq!(admits(&Cors::None, host, &[origin]), own, "{origin} {host}");
        }
        assert!(admits(&Cors::Any, "h", &["https://b.example"]));
        assert!(admits(&Cors::Reflect, "h", &["null"]));
    }
}
