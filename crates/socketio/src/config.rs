//! All settings of the server, with their defaults.

use std::sync::Arc;

use mynah_front::{Admission, Cors};

use crate::sid::SidTag;

/// Settings of a [`Server`](crate::Server). Durations are in milliseconds, sizes in bytes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Requests for this path, and for paths below it, belong to the server. It starts and ends with `/`.
    /// Default `/socket.io/`.
    pub path: String,
    /// Whether clients that send `EIO=2`, or no `EIO`, are served like those that send 3. These are
    /// socket.io-client 1.0.0 to 1.0.6, socket.io-client-swift up to 15.2 and cocos2d-x. Node's server
    /// refuses them. Default false.
    pub eio2_as_eio3: bool,
    /// EIO4: the interval between the server's pings. EIO3: the interval that the client is told to use.
    /// Default 25,000.
    pub ping_interval_ms: u32,
    /// How long the response to a ping may take before the session is closed. Default 20,000.
    pub ping_timeout_ms: u32,
    /// How long an upgrade may take, counted from the moment when its WebSocket was opened. Default 10,000.
    pub upgrade_timeout_ms: u32,
    /// How long a client may take to connect to its first namespace. Default 45,000.
    pub connect_timeout_ms: u32,
    /// The maximum size of a polling request's body, of a WebSocket message, and of a packet together with
    /// the attachments that are kept. Default 1,000,000.
    pub max_payload_bytes: usize,
    /// The maximum number of binary attachments of one packet. Default 10.
    pub max_attachments: usize,
    /// Whether attachments are given to the application. Otherwise they are discarded as they arrive, and are
    /// empty in [`Event`](crate::Event). Default true.
    pub keep_attachments: bool,
    /// The maximum number of bytes that may be queued for one connection. Beyond it the connection is closed
    /// as a slow reader. Default 1 MiB.
    pub max_queue_bytes: usize,
    /// The maximum number of pending acknowledgements of one socket. Beyond it
    /// [`Socket::emit_with_ack`](crate::Socket::emit_with_ack) fails. Default 1,024.
    pub max_pending_acks: usize,
    /// How long a closing connection may go without reading what is still queued, or without answering the
    /// close. Default 5,000.
    pub close_timeout_ms: u32,
    /// After the server has closed a session on polling: how long the session waits for the poll that is told
    /// so. Default 30,000.
    pub goodbye_timeout_ms: u32,
    /// The origins whose web pages may read the responses to polling requests.
    pub cors: Cors,
    /// Whether pages of other origins than the server's own and those in `cors` are refused with 403, on
    /// WebSockets too. Default false, as in Socket.IO.
    pub refuse_origins: bool,
    /// Limits the number and the rate of connections. Default: no limits.
    pub admission: Arc<Admission>,
    /// The name of a cookie with the session id, for load balancers that need one. Default `None`: no cookie.
    pub cookie: Option<String>,
    /// What the ids of Engine.IO sessions begin with. If several servers serve the same clients and any of
    /// them may get a request, the tag tells whose session the request is for. Default `None`.
    pub sid_tag: Option<SidTag>,
    /// Polling responses of at least this size are compressed for clients that accept it; `None`: never.
    /// Default 1,024.
    pub http_compression_bytes: Option<usize>,
    /// Whether each session's [`Handshake`](crate::Handshake) is kept as long as the session, so that
    /// namespaces to which the client connects later can read it. Otherwise it is dropped after the first
    /// namespace, which saves about 1 KB per connection. Default true.
    pub keep_handshake: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "/socket.io/".into(),
            eio2_as_eio3: false,
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            upgrade_timeout_ms: 10_000,
            connect_timeout_ms: 45_000,
            max_payload_bytes: 1_000_000,
            max_attachments: 10,
            keep_attachments: true,
            max_queue_bytes: 1 << 20,
            max_pending_acks: 1_024,
            close_timeout_ms: 5_000,
            goodbye_timeout_ms: 30_000,
            cors: Cors::None,
            refuse_origins: false,
            admission: Arc::default(),
            cookie: None,
            sid_tag: None,
            http_compression_bytes: Some(1_024),
            keep_handshake: true,
        }
    }
}
