//! `[server]`

use std::path::PathBuf;

use mynah_front::{Origins, Proxies};

use super::section::section;

section! {
    /// Listening and stopping.
    pub struct Server {
        /// Address and port for clients, the API and the web page.
        pub listen: String = "127.0.0.1:3001".into();
        /// With auth.mode "open", anybody who can reach the port can act as any user. Listening on an address
        /// other than loopback is therefore refused, unless this is true.
        pub allow_open_beyond_loopback: bool = false;
        /// After SIGTERM or SIGINT, connections and requests have this time to end. Then the program ends
        /// anyway.
        pub grace_ms: u64 = 10_000, in 0..=3_600_000;
        /// Origins of web pages that may connect, such as "https://chat.example.com", or
        /// "https://*.example.com" for all subdomains. Pages of the server's own address may always connect.
        /// Requests of other pages are refused with 403. Requests without the header Origin, for example
        /// those of apps, are not checked. "*" allows every origin, as in Socket.IO 1 and 2. The server uses
        /// no cookies, so that a page can do nothing that another program could not do as well; list your own
        /// origins nevertheless. An empty list allows only the server's own address.
        pub cors_origins: Vec<String> = vec!["*".into()];
        /// Only in open mode: host names that clients may use for this server (header Host), besides
        /// "localhost", IP addresses, names without a dot, and the name in listen. Requests with another name
        /// are refused with 403, so that a page of another site cannot reach this server under a name of its
        /// own (DNS rebinding). Add the public names if a proxy in front passes the header Host on. "*"
        /// allows any name.
        pub hosts: Vec<String> = Vec::new();
        /// A separate address for the API and the metrics. If it is set, /v1 and /metrics are served on this
        /// address only; /health is served on both.
        pub admin_listen: Option<String> = None;
        /// Addresses and networks ("10.0.0.0/8") of the proxies in front. Only their X-Forwarded-For is
        /// trusted.
        pub trusted_proxies: Vec<String> = Vec::new();
        /// Whether the proxies send the header of the PROXY protocol (version 1 or 2). If this is true, a
        /// connection is closed unless it comes from one of trusted_proxies and begins with that header. This
        /// does not apply to admin_listen.
        pub proxy_protocol: bool = false;
        /// The header of an HTTP request must be complete within this time.
        pub header_timeout_ms: u32 = 30_000, in 100..=600_000;
        /// The header of the PROXY protocol must be complete within this time, and so must the TLS handshake.
        pub handshake_timeout_ms: u32 = 10_000, in 100..=600_000;
        /// An HTTP connection is closed if no further request arrives within this time. It should be longer
        /// than the idle timeout of proxies in front, so that they do not send a request on a connection that
        /// is being closed. 0 is three times header_timeout_ms.
        pub idle_timeout_ms: u32 = 0, in 0..=3_600_000;
        /// An HTTP connection is closed when its client has read nothing of a response for this time. It
        /// gains one second for each 4 KiB that it reads, up to this time again.
        pub write_timeout_ms: u32 = 30_000, in 100..=600_000;
        /// TLS.
        pub tls: Tls = Tls::default();
    }
}

section! {
    /// TLS 1.2 and 1.3. If both files are set, the server accepts only https and wss. The files are read
    /// again when they change.
    pub struct Tls {
        /// A PEM file with the certificate, followed by the intermediate certificates.
        pub cert_file: Option<PathBuf> = None;
        /// A PEM file with the private key of the certificate.
        pub key_file: Option<PathBuf> = None;
        /// Whether admin_listen uses TLS too.
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
                    "{key} must be an address and a port such as \"127.0.0.1:3001\", not {:?}",
                    address.map_or("", String::as_str)
                ));
            }
        }
        for origin in self.cors_origins.iter().filter(|origin| *origin != "*") {
            if let Err(why) = Origins::parse(&[origin]) {
                problems.push(format!(
                    "server.cors_origins must contain \"*\" or origins: {why}"
                ));
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
                    "server.hosts must contain \"*\" or host names such as \"chat.example.com\", without scheme and port, not {name:?}"
                ));
            }
        }
        for proxy in &self.trusted_proxies {
            if let Err(why) = Proxies::parse(&[proxy]) {
                problems.push(format!("server.trusted_proxies: {why}"));
            }
        }
    }
}
