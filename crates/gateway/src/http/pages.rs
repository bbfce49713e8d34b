//! Restrictions for web pages: under which host names they may call this server, and from which origins they
//! may sign users out.
//!
//! A page of another site can send requests to everything that its browser can reach, including this machine.
//! If a client needs no proof of who it is, the page must not reach the server under a host name of its own
//! (DNS rebinding), nor with a request that a browser sends without a preflight request (cross-site request
//! forgery).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mynah_socketio::{Cors, Refusal};

use super::Api;
use super::problem::Problem;
use crate::config::{Config, Mode};

/// The path that signs a user out.
const SIGN_OUT: &str = "/signout";

/// The host names under which this server may be called.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// `None` is any name.
    names: Option<Vec<Box<str>>>,
}

impl Hosts {
    /// Those of `server.hosts`, and the name in `server.listen`. Outside of open mode any name will do: a page has no token of its user there.
    pub fn new(config: &Config) -> Self {
        let server = &config.server;
        if config.auth.mode != Mode::Open || server.hosts.iter().any(|name| name == "*") {
            return Self::default();
        }
        let listen = server.listen.rsplit_once(':').map_or("", |(host, _)| host);
        let names = server.hosts.iter().map(String::as_str).chain([listen]);
        Self {
            names: Some(names.map(Into::into).collect()),
        }
    }

    /// Whether this is a name of the server. Addresses and names without a dot are accepted: a stranger's
    /// page is served under a name of the public DNS, and the browser puts that name into the header.
    fn has(&self, host: &str) -> bool {
        let Some(names) = &self.names else {
            return true;
        };
        let Some(name) = name_in(host) else {
            return false;
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || !name.contains('.')
            || is_below_localhost(name)
            || names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Whether all host names in a request are names of the server. A request without one does not come from
    /// a browser.
    fn admit<B>(&self, request: &Request<B>) -> bool {
        let target = request.uri().authority().map(Authority::as_str);
        let headers = request.headers().get_all(header::HOST).iter();
        let mut named = headers.map(|value| value.to_str().unwrap_or("?")).chain(target);
        named.all(|host| self.has(host))
    }
}

/// The name or address in a `Host` header, without its port and its trailing dot; `None` if it is malformed.
/// Nothing is allocated, because every poll is checked.
fn name_in(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(address) => 1 + address.find(']')? + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let is_port = port.strip_prefix(':').map_or(port.is_empty(), |digits| {
        digits.bytes().all(|b| b.is_ascii_digit())
    });
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b);
    let name = name.strip_suffix('.').unwrap_or(name);
    (is_port && !name.is_empty() && name.bytes().all(is_name)).then_some(name)
}

fn is_below_localhost(name: &str) -> bool {
    const END: &str = ".localhost";
    let at = name.len().checked_sub(END.len());
    at.and_then(|at| name.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(END))
}

impl Api {
    /// The refusal of a request whose host name is not one of this server, if it is not. Calls that need an
    /// API key are not checked, because a page has no key, and neither are the health checks.
    pub(crate) fn refuse_host<B>(&self, request: &Request<B>, peer: SocketAddr) -> Option<Response> {
        let path = request.uri().path();
        if path.starts_with("/v1/") || path.starts_with("/health/") || self.hosts.admit(request) {
            return None;
        }
        self.admission.refuse(Refusal::Host, peer.ip());
        let detail = "The Host header does not name this server: in open mode use an IP address, \"localhost\", or a name in server.hosts.";
        let mut response = Problem::new(StatusCode::FORBIDDEN, detail).into_response();
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        Some(response)
    }
}

/// Allows sign-outs by pages of the origins in `server.cors_origins` and refuses those of others; answers
/// preflight requests and adds the CORS headers.
pub(super) async fn sign_out(
    State(api): State<Arc<Api>>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    if request.uri().path() != SIGN_OUT {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        Cors::preflight(request.headers()).map(axum::body::Body::new)
    } else if api.cors.admits(request.headers()) {
        next.run(request).await
    } else {
        api.admission.count(Refusal::Origin);
        tracing::debug!(?origin, "refused a sign-out by a page of this origin");
        Problem::new(
            StatusCode::FORBIDDEN,
            "Pages of this origin may not sign users out: server.cors_origins does not name it.",
        )
        .into_response()
    };
    api.cors.allow(origin, response.headers_mut());
    response
}

/// Headers by which a browser describes the page that sends the request; programs do not send them.
const FROM_PAGES: [&str; 3] = ["origin", "referer", "sec-fetch-site"];

/// Refuses requests that a browser sends for any page without a preflight request: those whose body is not
/// declared as JSON.
pub(super) fn asked_first(headers: &HeaderMap) -> Result<(), Problem> {
    if !FROM_PAGES.iter().any(|name| headers.contains_key(*name)) {
        return Ok(());
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Send the header \"Content-Type: application/json\": without it, any web page could sign users out.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(change: impl FnOnce(&mut Config)) -> Hosts {
        let mut config = Config::default();
        change(&mut config);
        Hosts::new(&config)
    }

    #[test]
    fn in_open_mode_addresses_local_and_configured_names_pass() {
        let hosts = hosts(|config| {
            config.server.listen = "Chat.example.org:3001".into();
            config.server.hosts = vec!["proxy.Example.com".into()];
        });
        for fine in [
            "localhost",
            "LOCALHOST:3001",
            "localhost.:3001",
            "chat.localhost",
            "127.0.0.1:3001",
            "[::1]:3001",
            "[::1]",
            "192.168.1.5",
            "chat.example.org",
            "chat.example.org.:80",
            "PROXY.example.com:8443",
            "mynah:3001",
        ] {
            assert!(hosts.has(fine), "{fine}");
        }
        for wrong in [
            "evil.example",
            "evil.example:3001",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example@localhost",
            "localhost@evil.example",
            "xlocalhost.example",
            "a.proxy.example.com",
            "",
            "?.",
            "[::1",
            "[::1]x",
            "localhost:x",
            "localhost/",
        ] {
            assert!(!hosts.has(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_request_may_have_no_name_but_none_of_others() {
        let hosts = hosts(|_| {});
        let request = |uri: &str, names: &[&str]| {
            let builder = names.iter().fold(Request::builder().uri(uri), |builder, name| {
                builder.header("host", *name)
            });
            hosts.admit(&builder.body(()).unwrap())
        };
        assert!(request("/", &[]));
        assert!(request("/", &["localhost"]));
        assert!(!request("/", &["evil.example"]));
        assert!(!request("/", &["localhost", "evil.example"]));
        assert!(!request("http://evil.example/", &["localhost"]));
    }

    #[test]
    fn where_clients_prove_who_they_are_and_where_it_is_said_any_name_passes() {
        assert!(hosts(|config| config.auth.mode = Mode::Jwt).has("evil.example"));
        assert!(hosts(|config| config.server.hosts = vec!["*".into()]).has("evil.example"));
    }
}
