//! `[cluster]`

use std::path::PathBuf;

use super::secret::Secret;
use super::section::section;

/// Minimum number of bytes of the secret of a cluster.
const MIN_SECRET_BYTES: usize = 16;

section! {
    /// Several equal nodes that share a PostgreSQL database (store.url) and a Redis, behind any load
    /// balancer. Without redis_url there is one node.
    pub struct Cluster {
        /// Redis 6.2 or later, or Valkey: "redis://:password@host:6379/0", or "rediss://" for TLS. Nothing in
        /// it needs a backup.
        pub redis_url: Option<Secret> = None;
        /// What all keys of this cluster in Redis begin with.
        pub name: String = "mynah".into();
        /// Where other nodes reach this node: host and port. Without it, the address of server.listen, which
        /// must then not be 0.0.0.0 or [::].
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

    pub(super) fn check(&self, has_store_url: bool, problems: &mut Vec<String>) {
        if !self.is_on() {
            let unused = [
                ("advertise", self.advertise.is_some()),
                ("secret", self.secret.is_some()),
                ("secret_file", self.secret_file.is_some()),
            ];
            let unused = unused.into_iter().filter(|(_, is_set)| *is_set);
            problems.extend(unused.map(|(key, _)| {
                format!("cluster.{key} is set, but not cluster.redis_url: set that too for several nodes")
            }));
            return;
        }
        if !has_store_url {
            problems.push("cluster.redis_url needs store.url: the nodes share a PostgreSQL database".into());
        }
        match (&self.secret, &self.secret_file) {
            (None, None) => problems.push(
                "cluster.secret or cluster.secret_file must be set: use for example the output of `openssl rand -hex 32`"
                    .into(),
            ),
            (Some(_), Some(_)) => {
                problems.push("cluster.secret and cluster.secret_file must not both be set".into());
            }
            (Some(secret), None) if secret.expose().len() < MIN_SECRET_BYTES => problems.push(format!(
                "cluster.secret must have at least {MIN_SECRET_BYTES} bytes: use for example the output of `openssl rand -hex 32`"
            )),
            (Some(_), None) | (None, Some(_)) => {}
        }
    }
}
