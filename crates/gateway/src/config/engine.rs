//! `[engine]`

use super::section::section;

section! {
    /// The Socket.IO connections.
    pub struct Engine {
        /// The path to which clients connect.
        pub path: String = "/socket.io/".into();
        /// Interval between heartbeats. The server sends them in Socket.IO 3 and 4, the client in 1 and 2.
        pub ping_interval_ms: u32 = 25_000, in 10..=3_600_000;
        /// A connection is closed when a heartbeat is not answered within this time.
        pub ping_timeout_ms: u32 = 20_000, in 10..=3_600_000;
        /// Largest body of a polling request, and largest WebSocket message.
        pub max_payload_bytes: usize = 1_000_000, in 128..=1_073_741_824;
        /// An upgrade from polling to WebSocket must be complete within this time.
        pub upgrade_timeout_ms: u32 = 10_000, in 10..=600_000;
        /// A connection that has not joined the namespace within this time is closed.
        pub connect_timeout_ms: u32 = 45_000, in 10..=600_000;
        /// Maximum number of binary attachments of one packet.
        pub max_attachments: usize = 10, in 0..=1_000;
    }
}

impl Engine {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let long_enough = self.path.len() > 2 && self.path.starts_with('/') && self.path.ends_with('/');
        let own = ["/v1/", "/health/", "/metrics/", "/signout/", "/assets/", "/open/"];
        if !long_enough || own.iter().any(|taken| self.path.starts_with(taken)) {
            problems.push(format!(
                "engine.path must begin and end with a slash and not begin like {}; it is {:?}",
                own.join(", "),
                self.path
            ));
        }
    }
}
