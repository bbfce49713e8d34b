//! The settings of a listener, with their defaults.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use crate::admission::Admission;
use crate::proxies::Proxies;

/// Settings of a [`Listener`](crate::Listener).
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// How long a peer may take to send a request's head, in milliseconds. Default 10,000.
    pub header_timeout_ms: u32,
    /// How long a peer may take for the header of the PROXY protocol, and how long for the TLS handshake, in milliseconds. Default 10,000.
    pub handshake_timeout_ms: u32,
    /// How long a connection without a further request is kept open, in milliseconds. Default 90,000: longer
    /// than proxies keep one.
    pub idle_timeout_ms: u32,
    /// How long a peer may take nothing of an answer, in milliseconds. Default 30,000.
    pub write_timeout_ms: u32,
    /// Largest head of a request, in bytes. Default 16 KiB.
    pub max_header_bytes: usize,
    /// Speaks TLS. Offer `http/1.1` alone by ALPN. Default none.
    pub tls: Option<Arc<ServerConfig>>,
    /// Proxies in front: their connections are not counted as those of one address. Default none.
    pub proxies: Proxies,
    /// Every connection comes from one of `proxies` and begins with the header of the PROXY protocol. Default false.
    pub proxy_protocol: bool,
    /// Connections count against the bounds of `admission`. Default true.
    pub bounded: bool,
    /// Who may connect how often, and who was refused. Default: no bounds.
    pub admission: Arc<Admission>,
    /// Accepting pauses as long as the process has so many file descriptors, so that the rest of it can still open files. Default none:
    /// it pauses when there are no more.
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

    /// hyper keeps one time for a head and for having none.
    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms.max(self.header_timeout_ms).into())
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms.into())
    }
}
