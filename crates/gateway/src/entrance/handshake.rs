//! The handshake of a client that connects to the namespace `/`, and whether it is accepted.

use axum::http::HeaderMap;
use mynah_socketio::{ConnectRefused, Handler, Handshake, Namespaces, Socket};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, Entrance};
use crate::frame::Request;

/// The name of a token in the query.
const TOKEN: &str = "token";

/// Accepts clients in the namespace `/`.
pub(crate) struct Handshakes(pub(crate) Arc<Entrance>);

impl Namespaces for Handshakes {
    fn trim(&self, handshake: &mut Handshake) {
        handshake.headers = HeaderMap::new();
        if !self.0.needs_proof() {
            handshake.query = String::new();
            return;
        }
        handshake.retain_query(TOKEN);
        // Each byte may be encoded as three. A longer query cannot contain a valid token, but the fact that
        // there was one is kept.
        if handshake.query.len() > 3 * self.0.config.limits.token_bytes + 3 * TOKEN.len() + 1 {
            handshake.query = format!("{TOKEN}=");
        }
    }

    fn connect(
        &self,
        socket: &Socket,
        handshake: &Handshake,
        auth: Option<&RawValue>,
    ) -> Result<Box<dyn Handler>, ConnectRefused> {
        if socket.namespace() != "/" {
            return Err(ConnectRefused::invalid_namespace());
        }
        // An invalid token is reported when the client registers.
        let token = self
            .0
            .needs_proof()
            .then(|| handshake_token(auth, || handshake.query(TOKEN), self.0.config.limits.token_bytes))
            .flatten();
        Ok(Box::new(Client::new(self.0.clone(), socket.clone(), token)))
    }
}

/// Returns the token of a handshake: that of `auth` if it has one, otherwise that of the query. If it cannot
/// be a token, an empty text is returned, which is refused like any invalid token.
pub(super) fn handshake_token(
    auth: Option<&RawValue>,
    query: impl FnOnce() -> Option<String>,
    most: usize,
) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct AuthFields<'a> {
        #[serde(borrow)]
        token: Option<&'a RawValue>,
    }
    impl<'a> Request<'a> for AuthFields<'a> {}

    let in_auth = auth.and_then(|auth| AuthFields::read(auth.get(), "").ok()?.token);
    let token = match in_auth {
        Some(raw) if raw.get().len() <= most.saturating_mul(2) => {
            serde_json::from_str(raw.get()).unwrap_or_default()
        }
        Some(_) => String::new(),
        None => query()?,
    };
    Some(if token.len() <= most {
        token.into()
    } else {
        Box::default()
    })
}
