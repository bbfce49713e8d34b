//! The host names under which web pages may call this server (see `pages.rs`).

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{Request, header};

use crate::config::{Config, Mode};

/// The host names under which this server may be called.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// `None` allows every name.
    names: Option<Vec<Box<str>>>,
}

impl Hosts {
    /// Allows the names in `server.hosts` and the name in `server.listen`. Outside of open mode every name is
    /// allowed, because a stranger's page does not have the token of a user.
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
    pub(super) fn admit<B>(&self, request: &Request<B>) -> bool {
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
    fn a_request_without_a_host_is_allowed_and_one_with_a_foreign_host_is_not() {
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
    fn outside_of_open_mode_and_with_a_star_every_name_passes() {
        assert!(hosts(|config| config.auth.mode = Mode::Jwt).has("evil.example"));
        assert!(hosts(|config| config.server.hosts = vec!["*".into()]).has("evil.example"));
    }
}
