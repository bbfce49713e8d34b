//! The settings of a listener, with their defaults.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use crate::admission::Admission;
use crate::proxies::Proxies;

/// Settings of a [`Listener`](crate::Listener).
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// How long a peer may take to send the head of a request, in milliseconds. Default 10,000.
    pub header_timeout_ms: u32,
    /// How long a peer may take for the header of the PROXY protocol, and how long for the TLS handshake, in
    /// milliseconds. Default 10,000.
    pub handshake_timeout_ms: u32,
    /// How long a connection without a further request is kept open, in milliseconds. Default 90,000, which
    /// is longer than proxies usually keep an idle connection.
    pub idle_timeout_ms: u32,
    /// How long a peer may stop reading a response, in milliseconds. Default 30,000.
    pub write_timeout_ms: u32,
    /// The largest head of a request, in bytes. Default 16 KiB.
    pub max_header_bytes: usize,
    /// Serves TLS with this configuration, which should offer only `http/1.1` by ALPN. Default: no TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Proxies in front of the server. Their connections do not count for their address, because they carry
    /// the requests of many clients. Default: none.
    pub proxies: Proxies,
    /// Whether every connection comes from one of `proxies` and begins with the header of the PROXY protocol.
    /// Default false.
    pub proxy_protocol: bool,
    /// Whether connections count against the limits of `admission`. Default true.
    pub bounded: bool,
    /// The limits and counts of connections and refusals. Default: no limits.
    pub admission: Arc<Admission>,
    /// While the process uses this many file descriptors, no connections are accepted, so that it can still
    /// open files. Default: none; connections are then accepted until no descriptor is left.
    pub max_descriptors: Option<u32>,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            header_timeout_ms: 10_000,
            handshake_timeout_ms: 10_000,
            idle_timeout_ms: 90_000,
            write_timeout_ms: 30_000,
            max_header_bytes: 16 * 1024,
            tls: None,
            proxies: Proxies::default(),
            proxy_protocol: false,
            bounded: true,
            admission: Arc::default(),
            max_descriptors: None,
        }
    }
}

impl ListenerOptions {
    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms.into())
    }

    /// The longer of two limits, because hyper has a single timeout for a head and for an idle connection.
    /// The stream checks the limit of a head.
    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms.max(self.header_timeout_ms).into())
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms.into())
    }
}
