//! The reasons for which connections and requests are refused.

/// Why a connection or a request was refused, or closed before it was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The limit of sessions in total is reached.
    Connections,
    /// The limit of sessions or HTTP connections of the address is reached.
    Address,
    /// The request came from a web page of an origin that is not allowed.
    Origin,
    /// The `Host` header names another server (DNS rebinding). This crate does not check host names; its user
    /// does, and counts the refusal with [`Admission::refuse`](crate::Admission::refuse).
    Host,
    /// The TLS handshake failed, or the peer did not speak TLS.
    Tls,
    /// The TLS handshake or the header of the PROXY protocol took too long.
    HandshakeTimeout,
    /// The header of the PROXY protocol was missing or malformed.
    ProxyHeader,
    /// Only trusted proxies may connect, and the peer is not one.
    Untrusted,
    /// The head of the first request took too long.
    HeaderTimeout,
    /// The head of a request was too large or malformed.
    Header,
    /// The body of a polling request took too long.
    BodyTimeout,
    /// The peer did not read a response in time.
    AnswerTimeout,
    /// The limit of buffered bytes is reached, of the address or in total.
    Memory,
}

impl Refusal {
    /// All reasons.
    pub const ALL: [Self; 13] = [
        Self::Connections,
        Self::Address,
        Self::Origin,
        Self::Host,
        Self::Tls,
        Self::HandshakeTimeout,
        Self::ProxyHeader,
        Self::Untrusted,
        Self::HeaderTimeout,
        Self::Header,
        Self::BodyTimeout,
        Self::AnswerTimeout,
        Self::Memory,
    ];

    /// The name of the reason in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Address => "address",
            Self::Origin => "origin",
            Self::Host => "host",
            Self::Tls => "tls",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::ProxyHeader => "proxy_header",
            Self::Untrusted => "untrusted",
            Self::HeaderTimeout => "header_timeout",
            Self::Header => "header",
            Self::BodyTimeout => "body_timeout",
            Self::AnswerTimeout => "answer_timeout",
            Self::Memory => "memory",
        }
    }
}
