//! Decides by the configured auth mode who may register as whom. Nothing is changed here.

use std::pin::Pin;
use std::sync::Arc;

use super::login::Login;
use super::wanted::Wanted;
use crate::auth::{Auth, Backend, Question, TOO_LONG, Tokens, Verified};
use crate::claims::Claims;
use crate::clock;
use crate::directory::{Connection, Registration};
use crate::ids::Uid;
use crate::reject::{Code, Reject};
use crate::session::Link;

/// A register that is allowed.
pub(super) struct Allowed {
    pub(super) uid: Uid,
    pub(super) wanted: Wanted,
    pub(super) claims: Option<Box<Claims>>,
}

/// Whether a register is allowed.
pub(super) enum Decision {
    Now(Result<Allowed, Reject>),
    /// The backend must be asked, or the keys of tokens must be fetched.
    Later(Pin<Box<dyn Future<Output = Result<Allowed, Reject>> + Send>>),
}

/// Decides about a register of this connection.
pub(super) fn authorize(login: &Login, connection: &Arc<Connection<Link>>, mut wanted: Wanted) -> Decision {
    match &*login.auth {
        Auth::Open => Decision::Now(believed(wanted)),
        Auth::Jwt(tokens) => {
            let Some(token) = wanted.token.take().or_else(|| connection.link.handshake_token()) else {
                return Decision::Now(kept(connection.registration().as_deref(), wanted));
            };
            match tokens.verify(&token) {
                Verified::Yes(claims) => Decision::Now(proved(wanted, claims)),
                Verified::No(reject) => Decision::Now(Err(reject)),
                Verified::KeyUnknown => {
                    Decision::Later(Box::pin(verify_later(tokens.clone(), token, wanted)))
                }
            }
        }
        Auth::Webhook(backend) => {
            let most_bytes = login.config.limits.token_bytes;
            Decision::Later(Box::pin(ask(
                backend.clone(),
                connection.clone(),
                most_bytes,
                wanted,
            )))
        }
    }
}

fn believed(wanted: Wanted) -> Result<Allowed, Reject> {
    let uid = wanted.uid.clone();
    Ok(Allowed {
        uid: uid.ok_or_else(|| Reject::malformed("\"uid\" must be a string or an integer."))?,
        wanted,
        claims: None,
    })
}

/// Decides by the claims of a token.
fn proved(mut wanted: Wanted, claims: Box<Claims>) -> Result<Allowed, Reject> {
    if wanted.uid.as_ref().is_some_and(|uid| *uid != claims.sub) {
        return Err(Reject::forbidden(
            "This token belongs to another uid; leave out \"uid\", or use a token of that uid.",
        ));
    }
    match (&claims.device, &wanted.device) {
        (Some(only), Some(device)) if only != device => {
            return Err(Reject::forbidden(
                "This token is for another device; \"deviceid\" must be the one it names.",
            ));
        }
        (Some(only), _) => wanted.device = Some(only.clone()),
        (None, _) => {}
    }
    match (&claims.platform, &wanted.platform) {
        (Some(only), Some(platform)) if only != platform => {
            return Err(Reject::forbidden(
                "This token is for another platform; \"platform\" must be the one it names.",
            ));
        }
        (Some(only), _) => wanted.platform = Some(only.clone()),
        (None, _) => {}
    }
    Ok(Allowed {
        uid: claims.sub.clone(),
        wanted,
        claims: Some(claims),
    })
}

/// Decides about a register without a token: a connection that is registered may use its earlier claims.
fn kept(registration: Option<&Registration>, wanted: Wanted) -> Result<Allowed, Reject> {
    match registration.and_then(|registration| registration.claims.as_ref()) {
        None => Err(Reject::new(
            Code::Unauthenticated,
            "A token is missing: give one as \"token\", or in the handshake's auth or query.",
        )),
        Some(claims) if claims.left(clock::unix_millis(), clock::steady_millis()) == 0 => Err(expired()),
        Some(claims) => proved(wanted, claims.clone()),
    }
}

/// The refusal for a token that has expired.
pub(super) fn expired() -> Reject {
    Reject::new(
        Code::Unauthenticated,
        "Your token has expired; register again with a new one.",
    )
}

async fn verify_later(tokens: Arc<Tokens>, token: Box<str>, wanted: Wanted) -> Result<Allowed, Reject> {
    proved(wanted, tokens.verify_patiently(&token).await?)
}

async fn ask(
    backend: Arc<Backend>,
    connection: Arc<Connection<Link>>,
    most_bytes: usize,
    wanted: Wanted,
) -> Result<Allowed, Reject> {
    let outlet = connection.link.outlet();
    let handshake_token = connection.link.handshake_token();
    let token = wanted.token.as_deref().or(handshake_token.as_deref());
    if token.is_some_and(|token| token.len() > most_bytes) {
        return Err(Reject::new(Code::Unauthenticated, TOO_LONG));
    }
    let question = Question {
        uid: wanted.uid.as_ref(),
        deviceid: wanted.device.as_ref(),
        platform: wanted.platform.as_deref(),
        class: wanted.class.as_deref().unwrap_or("user"),
        token,
        address: outlet.address().ip(),
        sid: outlet.sid(),
    };
    let claims = backend.ask(&question).await?;
    // The backend was told what the client wanted, so the backend's answer takes precedence.
    let wanted = Wanted {
        device: claims.device.clone().or(wanted.device),
        platform: claims.platform.clone().or(wanted.platform),
        ..wanted
    };
    Ok(Allowed {
        uid: claims.sub.clone(),
        wanted,
        claims: Some(claims),
    })
}
