//! `[server]`

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
        /// Web pages of these origins may connect by polling ("https://chat.example.com"); "*" is any origin, as in Socket.IO 1
        /// and 2, whose clients this serves. No cookies are used, so another origin gains nothing that a program would not
        /// have; name your own origins where you can. Empty: none but the page's own.
        pub cors_origins: Vec<String> = vec!["*".into()];
        /// A request's header must be complete within this time; also how long a connection is kept without a request.
        pub header_timeout_ms: u32 = 30_000, in 100..=600_000;
    }
}

impl Server {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let port = self
            .listen
            .rsplit_once(':')
            .map(|(host, port)| (host.is_empty(), port.parse::<u16>()));
        if !matches!(port, Some((false, Ok(_)))) {
            problems.push(format!(
                "server.listen must be an address and a port such as \"127.0.0.1:3001\", it is {:?}",
                self.listen
            ));
        }
        for origin in &self.cors_origins {
            let scheme = origin
                .split_once("://")
                .map(|(scheme, rest)| (scheme, rest.contains('/') || rest.is_empty()));
            if origin != "*" && !matches!(scheme, Some((_, false))) {
                problems.push(format!(
                    "server.cors_origins must hold \"*\" or origins such as \"https://chat.example.com\" without a path, it has {origin:?}"
                ));
            }
        }
    }
}
