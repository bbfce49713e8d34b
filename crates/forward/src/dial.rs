//! Opens connections to other nodes.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mynah_front::{RawStream, RequestBody};
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::identity::Identity;
use crate::token::{HELLO, TOKEN, Token};

/// The bytes of responses that hyper buffers for one connection at most.
const MOST_BUFFERED: usize = 64 * 1024;

/// Version 2 of the PROXY protocol, command LOCAL: the connection is that of the proxy itself.
const PROXY_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// The body of a request to another node: that of the client, or none.
pub(crate) type OutgoingBody = Either<RequestBody, Empty<Bytes>>;

/// Why a node gave no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// No connection was made, or it failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection ended or was not HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// It did not accept a connection in time.
    #[error("it did not answer in time")]
    Timeout,
    /// What answers is not a node with the same secret.
    #[error(
        "it answers {0}, so it is not a node of this cluster: check cluster.advertise, cluster.secret and server.tls there"
    )]
    Stranger(StatusCode),
    /// The node has ended.
    #[error("it has ended")]
    Ended,
    /// The client has disconnected.
    #[error("the client has disconnected")]
    Abandoned,
}

/// Opens connections.
pub(crate) struct Dial {
    token: Token,
    proxy_protocol: bool,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// How long a connection is kept without a request.
    pub(crate) idle: Duration,
}

impl Dial {
    /// Connections that begin with the PROXY header if `proxy_protocol` is set.
    pub(crate) fn new(
        token: Token,
        proxy_protocol: bool,
        identity: Option<&Identity>,
        idle: Duration,
    ) -> Self {
        Self {
            token,
            proxy_protocol,
            tls: identity.map(Identity::connector),
            idle,
        }
    }

    /// Connects to a node, and returns once it has answered there that it is one. The node does not count the
    /// connection for the address of this one from then on.
    pub(crate) async fn connect(&self, node: &Authority) -> Result<SendRequest<OutgoingBody>, Failed> {
        let host = node.host().trim_start_matches('[').trim_end_matches(']');
        let mut stream = TcpStream::connect((host, node.port_u16().unwrap_or_default())).await?;
        stream.set_nodelay(true)?;
        if self.proxy_protocol {
            stream.write_all(PROXY_LOCAL).await?;
        }
        let stream = match &self.tls {
            None => RawStream::Tcp(stream),
            Some((connector, name)) => {
                RawStream::Other(Box::new(connector.connect(name.clone(), stream).await?))
            }
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MOST_BUFFERED)
            .handshake(TokioIo::new(stream))
            .await?;
        let connection = connection.with_upgrades();
        tokio::spawn(async move {
            // Whoever waits for a response gets the error.
            let _ = connection.await;
        });
        let mut hello = Request::new(Either::Right(Empty::new()));
        *hello.uri_mut() = hyper::Uri::from_static(HELLO);
        self.address_to(node, &mut hello);
        let answer = sender.send_request(hello).await?;
        if answer.status() != StatusCode::NO_CONTENT {
            return Err(Failed::Stranger(answer.status()));
        }
        sender.ready().await?;
        Ok(sender)
    }

    /// Adds the headers that every request to a node has.
    pub(crate) fn address_to(&self, node: &Authority, request: &mut Request<OutgoingBody>) {
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(node.as_str()) {
            headers.insert(HOST, host);
        }
        headers.insert(TOKEN, self.token.value());
    }
}
