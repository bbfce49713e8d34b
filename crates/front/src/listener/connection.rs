//! One accepted connection: the header of the PROXY protocol, TLS, then HTTP/1.1.
//!
//! Invariants: each of these steps has a timeout. For a connection that has not sent anything, the server
//! keeps only its socket and its task.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exchange::{Exchange, RequestBody};
use super::first;
use super::timed::Timed;
use crate::admission::AdmittedConnection;
use crate::linger;
use crate::options::ListenerOptions;
use crate::proxy_header;
use crate::refusals::Refusal;
use mynah_tls::TlsStream;

/// A connection that was refused waits this long for its peer, counted from the last bytes received.
const REFUSED_SILENCE: Duration = Duration::from_secs(1);

/// The answer to a connection that is refused before it has sent a request.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: 69\r\n\
    Retry-After: 10\r\nConnection: close\r\n\r\nThere are too many connections from your address; close some of them\n";

/// An accepted connection with the settings for it.
pub(super) struct Accepted<S> {
    /// The client: the peer, or the address that a trusted proxy names.
    peer: SocketAddr,
    /// The function that answers requests.
    service: S,
    options: Arc<ListenerOptions>,
    /// Counts the connection if its address has limits.
    connected: Option<AdmittedConnection>,
}

impl<S, F, B> Accepted<S>
where
    S: Fn(Request<RequestBody>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(peer: SocketAddr, service: S, options: Arc<ListenerOptions>) -> Self {
        Self {
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            service,
            options,
            connected: None,
        }
    }

    /// Starts to serve the connection in tasks of its own.
    pub(super) fn start(mut self, mut stream: TcpStream) {
        let from_proxy = self.options.proxies.trust(self.peer.ip());
        if !self.options.proxy_protocol {
            // A proxy's connections carry many clients, so they do not count for its address.
            return self.count(stream, !from_proxy);
        }
        if !from_proxy {
            return self.refuse(Refusal::Untrusted);
        }
        tokio::spawn(async move {
            let header = timeout(self.options.handshake_timeout(), proxy_header::read(&mut stream)).await;
            match header {
                Ok(Ok(source)) => {
                    self.peer = source.unwrap_or(self.peer);
                    self.count(stream, source.is_some());
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the header of the PROXY protocol cannot be read");
                    self.refuse(Refusal::ProxyHeader);
                }
                Err(_) => self.refuse(Refusal::HandshakeTimeout),
            }
        });
    }

    fn refuse(&self, refusal: Refusal) {
        self.options.admission.refuse(refusal, self.peer.ip());
    }

    /// Serves the connection. If `is_client`, it counts for the client's address, and is refused if that
    /// address has too many connections.
    fn count(mut self, stream: TcpStream, is_client: bool) {
        if is_client && self.options.bounded {
            match self.options.admission.admit_connection(self.peer.ip()) {
                Ok(connected) => self.connected = Some(connected),
                Err(_) => return answer_refused(stream, &self.options),
            }
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        match self.options.tls.clone() {
            None => tokio::spawn(self.serve(stream)),
            Some(tls) => tokio::spawn(self.secure(stream, tls)),
        };
    }

    async fn secure(self, stream: TcpStream, tls: Arc<ServerConfig>) {
        match timeout(self.options.handshake_timeout(), TlsStream::accept(stream, tls)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                self.refuse(Refusal::Tls);
            }
            Err(_) => self.refuse(Refusal::HandshakeTimeout),
        }
    }

    /// Serves HTTP until the connection ends or becomes a WebSocket.
    async fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, mut stream: T) {
        let Self {
            peer,
            service,
            options,
            connected,
        } = self;
        let head = match timeout(
            options.header_timeout(),
            first::head(&mut stream, options.max_header_bytes),
        )
        .await
        {
            Ok(Ok(head)) if !head.is_empty() => head,
            // The peer has closed the connection without sending a request, or the connection has failed.
            Ok(_) => return,
            Err(_) => return options.admission.refuse(Refusal::HeaderTimeout, peer.ip()),
        };
        let exchange = Arc::new(Exchange::new(connected));
        let answering = exchange.clone();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // The stream checks the timeout of a head that has begun.
            .header_read_timeout(options.idle_timeout())
            .max_buf_size(options.max_header_bytes.max(8 * 1024))
            .serve_connection(
                TokioIo::new(Timed::new(stream, head, &options, exchange.clone())),
                service_fn(move |request| {
                    let exchange = answering.clone();
                    let response = service(exchange.begin(request), peer);
                    async move {
                        let mut response = response.await;
                        if !exchange.end(response.status()).await {
                            let close = HeaderValue::from_static("close");
                            response.headers_mut().insert(header::CONNECTION, close);
                        }
                        Ok::<_, Infallible>(response)
                    }
                }),
            )
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
            if let Some(refusal) = reason(&error, &exchange) {
                options.admission.refuse(refusal, peer.ip());
            }
        }
    }
}

/// Refuses a connection with a response. With TLS there is no response, because its handshake would cost more
/// than the refusal saves.
fn answer_refused(stream: TcpStream, options: &ListenerOptions) {
    use std::io::{Read, Write};
    if options.tls.is_some() {
        return;
    }
    if let Some(held) = options.admission.hold_refused() {
        tokio::spawn(async move {
            let mut stream = stream;
            // The buffer of a new connection has room for the whole response, so this does not wait.
            if stream.write_all(TOO_MANY).await.is_ok() {
                linger::end(stream, REFUSED_SILENCE).await;
            }
            drop(held);
        });
        return;
    }
    let Ok(mut stream) = stream.into_std() else { return };
    // This does not block. The response arrives only if the whole request has arrived and is read here:
    // otherwise the system resets the connection.
    let _ = stream.read(&mut [0; 2_048]);
    let _ = stream.write(TOO_MANY);
}

/// The limit because of which the server ended the connection; `None` if the connection ended in another way.
fn reason(error: &hyper::Error, exchange: &Exchange) -> Option<Refusal> {
    use std::error::Error;
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        Some(if exchange.is_head_late() {
            Refusal::HeaderTimeout
        } else {
            Refusal::AnswerTimeout
        })
    } else if error.is_timeout() {
        // This is how an idle connection normally ends, after its last request.
        (!exchange.was_asked()).then_some(Refusal::HeaderTimeout)
    } else if error.is_parse() {
        Some(Refusal::Header)
    } else {
        None
    }
}
