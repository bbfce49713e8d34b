//! The WebSocket handshake (RFC 6455, section 4.2), after which the raw stream is taken back from hyper.

use std::sync::Arc;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Version};
use mynah_front::{AdmittedSession, Body, RawStream, RequestBody};
use mynah_wire::engine::{Dialect, HttpError};
use mynah_wire::ws;

use crate::driver::Driver;
use crate::handshake::Handshake;
use crate::http;
use crate::session::Session;
use crate::sessions::Sessions;
use crate::websocket::WebSocket;

/// Whether the client asks for a WebSocket.
pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    let value = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        value
            .split(',')
            .any(|name| name.trim().eq_ignore_ascii_case("websocket"))
    })
}

/// Checks the request, and creates the response that switches protocols.
fn switch(request: &mut Request<RequestBody>) -> Result<(Response<Body>, Accepted), Box<Response<Body>>> {
    let headers = request.headers();
    let connection = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let upgrades = connection
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok())
        .filter(|key| key.len() == 24);
    // HTTP/1.0 has no upgrades (RFC 9110, section 7.8): such a client would wait for a WebSocket forever.
    let may = request.method() == hyper::Method::GET && request.version() == Version::HTTP_11;
    let (true, Some(key)) = (upgrades && may, key) else {
        return Err(Box::new(http::refuse_upgrade(HttpError::BadRequest)));
    };
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        let mut response = http::refuse_upgrade(HttpError::BadRequest);
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(Box::new(response));
    }
    let Ok(accept) = HeaderValue::from_str(&ws::accept_key(key)) else {
        return Err(Box::new(http::refuse_upgrade(HttpError::BadRequest)));
    };
    let protocol = first_protocol(headers);
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    let accepted = Accepted {
        ignores_close: ignores_close(request.headers()),
        upgraded: hyper::upgrade::on(request),
    };
    Ok((response, accepted))
}

/// The subprotocol that the server selects if the client offers some: the first one, as in Node's server. A
/// browser closes the WebSocket if none is selected. What the name means is between the client and the
/// application.
fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let first = offered.split(',').next()?.trim();
    // Names are tokens (RFC 6455, section 4.1), like the names of headers.
    header::HeaderName::from_bytes(first.as_bytes()).ok()?;
    HeaderValue::from_str(first).ok()
}

/// Whether the client's library stops reading at a close frame, and does not tell its application before that
/// closes the WebSocket too. OkHttp does so, and socket.io-client-java 1.x and 2.x do not close it: they
/// would reconnect only when they miss a heartbeat.
fn ignores_close(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
    agent.is_some_and(|agent| agent.starts_with(b"okhttp/"))
}

/// A WebSocket that was accepted, until the response has been written.
struct Accepted {
    upgraded: OnUpgrade,
    ignores_close: bool,
}

impl Accepted {
    /// The WebSocket, whose messages may have up to `limit` bytes; `None` if the connection failed first.
    async fn websocket(self, limit: usize) -> Option<Box<WebSocket>> {
        let (stream, early) = RawStream::take(self.upgraded).await?;
        Some(Box::new(WebSocket::new(
            stream,
            &early,
            limit,
            self.ignores_close,
        )))
    }
}

/// Opens a session on a new WebSocket.
pub(crate) fn open(
    mut request: Request<RequestBody>,
    handshake: Handshake,
    dialect: Dialect,
    sessions: &Arc<Sessions>,
    admitted: AdmittedSession,
) -> Response<Body> {
    let (response, accepted) = match switch(&mut request) {
        Ok(switched) => switched,
        Err(refused) => return *refused,
    };
    let sessions = sessions.clone();
    tokio::spawn(async move {
        let limit = sessions.shared().config.max_payload_bytes;
        let Some(websocket) = accepted.websocket(limit).await else {
            return;
        };
        if let Ok((session, receiver)) = sessions.open(handshake, dialect, admitted) {
            tokio::spawn(Driver::new(session, receiver, Some(*websocket), sessions).run());
        }
    });
    response
}

/// Offers a WebSocket to a session on polling as the candidate of an upgrade. If it is refused, it is
/// accepted anyway and then closed.
pub(crate) fn take_over(mut request: Request<RequestBody>, session: Session) -> Response<Body> {
    let (response, accepted) = match switch(&mut request) {
        Ok(switched) => switched,
        Err(refused) => return *refused,
    };
    tokio::spawn(async move {
        let limit = session.server().config.max_payload_bytes;
        let Some(websocket) = accepted.websocket(limit).await else {
            return;
        };
        let mut state = session.state();
        if state.ended || state.candidate.is_some() {
            drop(state);
            websocket.finish(session.server(), session.address().ip(), None);
        } else {
            state.candidate = Some(websocket);
            state.wake_driver();
        }
    });
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_subprotocol_is_chosen() {
        for (offered, chosen) in [
            (&["chat, v2"][..], Some("chat")),
            (&["chat"], Some("chat")),
            (&["v2", "chat"], Some("v2")),
            (&[" Chat ,v2"], Some("Chat")),
            (&[], None),
            (&[""], None),
            (&["not a token, chat"], None),
            (&[",chat"], None),
        ] {
            let values = offered.iter().map(|value| HeaderValue::from_static(value));
            let headers: HeaderMap = values
                .map(|value| (header::SEC_WEBSOCKET_PROTOCOL, value))
                .collect();
            let got = first_protocol(&headers);
            assert_eq!(got.as_ref().map(|value| value.to_str().unwrap()), chosen);
        }
    }
}
