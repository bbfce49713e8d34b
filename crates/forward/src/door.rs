//! The requests that other nodes send: forwarded ones, and those about sessions of this node.

use std::net::SocketAddr;

use hyper::{Request, Response, StatusCode};
use mynah_front::{Body, RequestBody};

use crate::forward::Forward;
use crate::token::{BELOW, CLIENT, END_POLL, HELLO, RECONNECT, SESSION};

impl Forward {
    /// Whether another node of the cluster has sent this request. Every other request must be treated as if
    /// there were nothing below `/internal/`.
    pub fn is_internal<B>(&self, request: &Request<B>) -> bool {
        request.uri().path().starts_with(BELOW) && self.has_token(request.headers())
    }

    /// Answers a request that another node has sent (see [`Forward::is_internal`]). `peer` is the address of
    /// that node.
    pub async fn answer_internal(&self, request: Request<RequestBody>, peer: SocketAddr) -> Response<Body> {
        // The requests on this connection are those of many clients.
        request.body().uncount_connection();
        let sid = request.uri().query().unwrap_or_default();
        match request.uri().path() {
            HELLO => {}
            END_POLL => self.server().end_poll(sid),
            RECONNECT => self.server().close_to_reconnect(sid),
            SESSION => {
                let client = request
                    .headers()
                    .get(CLIENT)
                    .and_then(|client| client.to_str().ok());
                let client = client.and_then(|client| client.parse().ok()).unwrap_or(peer);
                return self.server().handle_checked(request, client).await;
            }
            _ => return empty(StatusCode::NOT_FOUND),
        }
        empty(StatusCode::NO_CONTENT)
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}
