//! Cross-origin requests: decides from which origins web pages may connect and read the responses.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::body::Body;
use crate::origin::Origins;

/// The policy for cross-origin requests (Fetch standard, "CORS protocol").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cors {
    /// No CORS headers are sent, so that pages of other origins cannot poll. This is what Socket.IO 3 and
    /// later do.
    #[default]
    None,
    /// Every origin is allowed with `*`, without credentials.
    Any,
    /// Every origin is allowed by repeating it in the response, with credentials. This is what Socket.IO 1
    /// and 2 do.
    Reflect,
    /// These origins are allowed by repeating them in the response, with credentials.
    Origins(Origins),
}

impl Cors {
    /// Whether a request with these headers is allowed. Requests without `Origin`, which come from programs,
    /// and requests from pages of this server are always allowed.
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

    /// Adds the headers that the Fetch standard ("CORS protocol") requires in the response to a request
    /// from a page of `origin`.
    pub fn allow(&self, origin: Option<HeaderValue>, response: &mut HeaderMap) {
        let Some(origin) = origin else { return };
        let allowed = match self {
            Self::None => return,
            Self::Any => {
                response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
                return;
            }
            Self::Reflect => true,
            Self::Origins(list) => origin.to_str().is_ok_and(|origin| list.contains(origin)),
        };
        response.append(header::VARY, HeaderValue::from_static("origin"));
        if allowed {
            let yes = HeaderValue::from_static("true");
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
    }

    /// Answers a preflight request, with which a browser asks whether a page may send another request.
    /// [`Cors::allow`] adds the other headers.
    pub fn preflight(request: &HeaderMap) -> Response<Body> {
        const ASKED: HeaderName = header::ACCESS_CONTROL_REQUEST_HEADERS;
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE"),
        );
        if let Some(asked) = request.get(ASKED) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            headers.append(
                header::VARY,
                HeaderValue::from_static("access-control-request-headers"),
            );
        }
        response
    }
}

/// Whether `origin` is the origin of this server according to the `Host` header. The schemes are not
/// compared, because a proxy may have terminated TLS.
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

    fn admits(cors: &Cors, host: &'static str, origins: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_static(origin));
        }
        cors.admits(&headers)
    }

    #[test]
    fn programs_and_pages_of_this_server_are_admitted() {
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

    #[test]
    fn only_listed_origins_are_allowed() {
        let cors = Cors::Origins(Origins::parse(&["https://a.example"]).unwrap());
        for (origin, allowed) in [("https://a.example", true), ("https://b.example", false)] {
            let mut response = HeaderMap::new();
            cors.allow(Some(HeaderValue::from_static(origin)), &mut response);
            assert_eq!(
                response.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN),
                allowed,
                "{origin}"
            );
        }
    }
}
