//! Every setting of the server, with its default in one place.

use std::sync::Arc;

use crate::front::admission::Admission;
use crate::front::cors::Cors;

/// Settings of a [`Server`](crate::Server). Durations are milliseconds, sizes bytes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Requests for this path, and below it, are ours; begins and ends with `/`. Default `/socket.io/`.
    pub path: String,
    /// Clients that send `EIO=2`, or no `EIO`, are served like those that send 3. These are socket.io-client
    /// 1.0.0 to 1.0.6, socket.io-client-swift up to 15.2 and cocos2d-x; Node's server refuses them. Default
    /// false.
    pub eio2_as_eio3: bool,
    /// EIO4: a ping is sent this often; EIO3: the client is told to. Default 25,000.
    pub ping_interval_ms: u32,
    /// How long an answer to a ping may take before the session is closed. Default 20,000.
    pub ping_timeout_ms: u32,
    /// How long a WebSocket may take from probing to taking over. Default 10,000.
    pub upgrade_timeout_ms: u32,
    /// How long a client may take to connect to its first namespace. Default 45,000.
    pub connect_timeout_ms: u32,
    /// Largest body of a polling request, largest WebSocket message, and largest packet with the attachments that are kept. Default 1,000,000.
    pub max_payload_bytes: usize,
    /// Most binary attachments of one packet. Default 10.
    pub max_attachments: usize,
    /// Attachments are given to the application. If this is false, they are discarded as they arrive, and are
    /// empty in [`Event`](crate::Event). Default true.
    pub keep_attachments: bool,
    /// Bytes that may wait for one connection before it is closed as a slow reader. Default 1 MiB.
    pub max_queue_bytes: usize,
    /// Most acknowledgements one socket may owe; beyond it [`Socket::emit_with_ack`](crate::Socket::emit_with_ack) fails. Default 1,024.
    pub max_pending_acks: usize,
    /// How long a closing connection may take to read what is still queued, and to answer the close. Default 5,000.
    pub close_timeout_ms: u32,
    /// How long a session closed by the server waits on polling for the request that learns of it. Default 30,000.
    pub goodbye_timeout_ms: u32,
    /// Which web pages may read what they get by polling.
    pub cors: Cors,
    /// Pages of other origins than `cors` names, or than our own, are refused with 403, on WebSockets too. Default false, as Socket.IO does.
    pub refuse_origins: bool,
    /// Who may connect how often. Default: no bounds.
    pub admission: Arc<Admission>,
    /// Name of a cookie with the session id, for load balancers that need one; `None` sets none (default).
    pub cookie: Option<String>,
    /// Polling answers of at least this size are compressed for clients that accept it; `None` never. Default 1,024.
    pub http_compression_bytes: Option<usize>,
    /// Keep each session's [`Handshake`](crate::Handshake) for as long as it lives, so that namespaces joined later see it; otherwise it is dropped
    /// after the first namespace, which saves about 1 KB per connection. Default true.
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
            http_compression_bytes: Some(1_024),
            keep_handshake: true,
        }
    }
}
