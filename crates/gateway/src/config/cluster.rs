//! `[cluster]`

use std::path::PathBuf;

use super::secret::Secret;
use super::section::section;

section! {
    /// Several equal nodes that share a PostgreSQL database (store.url) and a Redis, behind any load
    /// balancer. Without redis_url there is one node.
    pub struct Cluster {
        /// Redis 6.2 or later, or Valkey: "redis://:password@host:6379/0", or "rediss://" for TLS. Nothing in
        /// it needs a backup.
        pub redis_url: Option<Secret> = None;
        /// What all keys of this cluster in Redis begin with.
        pub name: String = "mynah".into();
        /// Where other nodes reach server.listen of this node: host and port. Without it, the address of
        /// server.listen, which must then not be 0.0.0.0 or [::]. Either all nodes have server.tls or none.
        /// With server.proxy_protocol, server.trusted_proxies must contain the nodes.
        pub advertise: Option<String> = None;
        /// By this secret the nodes recognise each other: at least 16 bytes, the same for all nodes.
        pub secret: Option<Secret> = None;
        /// A file that holds the secret. A line break at its end is ignored.
        pub secret_file: Option<PathBuf> = None;
        /// How long a user counts as connected whose node was stopped or has died.
        pub return_ms: u64 = 10_000, in 0..=60_000;
    }
}

impl Cluster {
    /// Whether this is one of several nodes.
    pub fn is_on(&self) -> bool {
        self.redis_url.is_some()
    }
}
