//! `[server]`

use std::path::PathBuf;

use mynah_socketio::{Network, Origins};

use super::section::section;

section! {
    /// Where it listens, and how it stops.
    pub struct Server {
        /// Address and port for clients, the API and the page.
        pub listen: String = "127.0.0.1:3001".into();
        /// With auth.mode "open" anybody who reaches the port is whoever they say: listening beyond this machine is refused
        /// unless this is true.
        pub allow_open_beyond_loopback: bool = false;
        /// After SIGTERM or SIGINT everything is closed within this time; then the program ends whatever is left.
        pub grace_ms: u64 = 10_000, in 0..=3_600_000;
        /// Web pages of these origins may connect ("https://chat.example.com", or all below a domain: "https://*.example.com"), besides those
        /// of this server's own address; others are refused with 403. Programs and apps, which send no Origin, are not asked. "*" is any
        /// origin, as in Socket.IO 1 and 2. No cookies are used, so that a page gains nothing that a program would not have; name your
        /// own origins all the same. Empty: none but this server's own.
        pub cors_origins: Vec<String> = vec!["*".into()];
        /// Only in open mode: host names that clients may use for this server (header Host), besides "localhost",
        /// addresses, names without a dot, and the name in listen. Requests with another name are refused with
        /// 403, so that a page of another site cannot reach this server under a name of its own (DNS
        /// rebinding). Behind a proxy that passes the Host header on, add its names. "*" allows any name.
        pub hosts: Vec<String> = Vec::new();
        /// Another address for what is not for clients: with it /v1 and /metrics are there alone, and no longer on the public one;
        /// /health is on both.
        pub admin_listen: Option<String> = None;
        /// Proxies in front, as addresses and networks ("10.0.0.0/8"): they are believed in X-Forwarded-For, and nobody else is.
        pub trusted_proxies: Vec<String> = Vec::new();
        /// The proxies send the header of the PROXY protocol (version 1 or 2): every connection must come from one of trusted_proxies and
        /// begin with it; others are closed. Not on admin_listen.
        pub proxy_protocol: bool = false;
        /// A request's header must be complete within this time.
        pub header_timeout_ms: u32 = 30_000, in 100..=600_000;
        /// The header of the PROXY protocol must be complete within this time, and so must the TLS handshake.
        pub handshake_timeout_ms: u32 = 10_000, in 100..=600_000;
        /// A connection without a further request is closed after this time. It should be longer than the idle
        /// timeout of proxies in front, so that they do not send a request on a connection that is being
        /// closed. 0 is three times header_timeout_ms.
        pub idle_timeout_ms: u32 = 0, in 0..=3_600_000;
        /// A connection is closed when its client has read nothing of an HTTP response for this time. Each 4 KiB
        /// that it reads gain it one second, up to this time again.
        pub write_timeout_ms: u32 = 30_000, in 100..=600_000;
        /// TLS, on both addresses.
        pub tls: Tls = Tls::default();
    }
}

section! {
    /// TLS 1.2 and 1.3. Both files set: https and wss alone are spoken. They are read again when they change.
    pub struct Tls {
        /// The certificate, and behind it those up to the root, as PEM.
        pub cert_file: Option<PathBuf> = None;
        /// Its private key, as PEM.
        pub key_file: Option<PathBuf> = None;
        /// On admin_listen too.
        pub admin: bool = true;
    }
}

impl Server {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let listen = ("server.listen", Some(&self.listen));
        for (key, address) in [listen, ("server.admin_listen", self.admin_listen.as_ref())] {
            let port = address.map(|address| address.rsplit_once(':'));
            let port = port.map(|parts| parts.map(|(host, port)| (host.is_empty(), port.parse::<u16>())));
            if !matches!(port, None | Some(Some((false, Ok(_))))) {
                problems.push(format!(
                    "{key} must be an address and a port such as \"127.0.0.1:3001\", it is {:?}",
                    address.map_or("", String::as_str)
                ));
            }
        }
        for origin in self.cors_origins.iter().filter(|origin| *origin != "*") {
            if let Err(why) = Origins::parse(&[origin]) {
                problems.push(format!("server.cors_origins must hold \"*\" or origins: {why}"));
            }
        }
        for name in self.hosts.iter().filter(|name| *name != "*") {
            let is_name = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
                && !name.ends_with('.');
            if !is_name {
                problems.push(format!(
                    "server.hosts must hold host names such as \"chat.example.com\", without scheme and port, or \"*\"; {name:?} is not one"
                ));
            }
        }
        for proxy in &self.trusted_proxies {
            if let Err(why) = proxy.parse::<Network>() {
                problems.push(format!("server.trusted_proxies: {why}"));
            }
        }
    }
}
