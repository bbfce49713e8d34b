//! Revokes tokens: they are refused from then on, although they are signed and have not expired.

use mynah_cluster::Ask;

use super::login::Login;
use super::unregister::part;
use crate::auth::Auth;
use crate::claims::Claims;
use crate::clock;
use crate::directory::Registration;
use crate::ids::DeviceId;
use crate::reject::{Code, Reject};
use crate::revocations::concerns;
use crate::session::Link;
use crate::store::{Device, Revocation, Revoked, StoreError, outcome};
use crate::time::UnixMillis;

/// See [`crate::Gateway::revoke`].
pub(crate) async fn revoke(
    login: &Login,
    what: Revoked,
    issued_until: Option<UnixMillis>,
    until: Option<UnixMillis>,
) -> Result<usize, Reject> {
    let now = clock::unix_millis();
    if issued_until.is_some_and(|moment| moment > now) {
        return Err(Reject::malformed("\"issued_until\" must not be in the future."));
    }
    if until.is_some_and(|moment| moment <= now) {
        return Err(Reject::malformed("\"until\" must be in the future."));
    }
    let revocation = Revocation {
        what,
        issued_until: issued_until.unwrap_or(now),
        forget_at: until.unwrap_or(UnixMillis::MAX),
        displaced: None,
    };
    match (&*login.auth, &revocation.what) {
        (Auth::Jwt(_), _) => remember(login, revocation.clone()).await?,
        // The backend is asked at each register, so it must remember the revocation itself.
        (Auth::Webhook(_), Revoked::User(_) | Revoked::Device(_)) => {}
        (Auth::Webhook(_), Revoked::Token(_)) => {
            return Err(refused(
                "In webhook mode only the backend knows tokens by their ids; name a uid.",
            ));
        }
        (Auth::Open, _) => {
            return Err(refused(
                "In open mode there are no tokens to revoke; sign the user out instead.",
            ));
        }
    }
    let mut closed = end_revoked(login, &revocation);
    if let Some(entries) = &login.entries {
        closed += entries.cluster.ask_all(Ask::Revoke(revocation)).await.count() as usize;
    }
    tracing::debug!(closed, "tokens were revoked");
    Ok(closed)
}

/// Carries out a revocation that another node has stored. Returns the number of connections that it has
/// ended.
pub(super) fn revoke_here(login: &Login, revocation: Revocation) -> usize {
    // The store tells of it too, but perhaps later.
    if let Auth::Jwt(_) = &*login.auth {
        login.revocations.add(revocation.clone());
    }
    end_revoked(login, &revocation)
}

/// Disconnects the connections to this node that a revocation concerns for good. Returns their number.
fn end_revoked(login: &Login, revocation: &Revocation) -> usize {
    let concerned = |registration: &Registration| concerns(revocation, registration);
    let end = |link: &Link, registration: &Registration| part(login, link, registration);
    match &revocation.what {
        Revoked::User(uid) | Revoked::Device(Device { uid, .. }) => login.registry.end(uid, concerned, end),
        Revoked::Token(_) => login.registry.end_everywhere(concerned, end),
    }
}

fn refused(why: &'static str) -> Reject {
    Reject::new(Code::Conflict, why)
}

async fn remember(login: &Login, revocation: Revocation) -> Result<(), Reject> {
    let most = login.config.limits.revocations;
    if !login
        .revocations
        .has_room(&revocation.what, most, certain_time(login))
    {
        login.metrics.limited("revocations");
        return Err(Reject::too_large(format!(
            "At most {most} revocations are kept; say with \"until\" when the tokens expire, so that revocations can be forgotten, or raise limits.revocations."
        )));
    }
    // The store tells its watchers before it answers, so the revocation is then in force in this process.
    let stored = outcome(|done| login.record.store.revoke(revocation, done)).await;
    stored.map_err(|error| login.record.trouble(error))
}

/// Returns a time of day that has certainly passed. By the clock alone, a revocation would be forgotten too
/// early if the clock were ahead for a moment.
fn certain_time(login: &Login) -> UnixMillis {
    login.record.store.certain_time().min(clock::unix_millis())
}

/// Refuses claims that are revoked, for this device or for all.
pub(crate) fn refuse_revoked(
    login: &Login,
    claims: &Claims,
    device: Option<&DeviceId>,
) -> Result<(), Reject> {
    if !login.revocations.cover(claims, device, certain_time(login)) {
        return Ok(());
    }
    login.metrics.auth_refused.inc();
    Err(Reject::new(
        Code::Unauthenticated,
        "Your token was revoked; sign in again for a new one.",
    ))
}

/// Revokes the token of a displaced device, so that the device cannot register again with it, unless there
/// are too many revocations already. The caller holds the lock of the user's shard.
pub(super) fn revoke_displaced(login: &Login, displaced: &Registration) {
    let Some(claims) = &displaced.claims else { return };
    let most = login.config.limits.revocations;
    if !login
        .revocations
        .has_room_for_displaced(most, certain_time(login))
    {
        login.metrics.limited("revocations");
        return;
    }
    let what = match &claims.jti {
        Some(token) => Revoked::Token(token.clone()),
        None => Revoked::Device(Device {
            uid: displaced.uid.clone(),
            device: displaced.device.clone(),
        }),
    };
    let now = clock::unix_millis();
    let revocation = Revocation {
        what,
        issued_until: claims.iat.unwrap_or(now),
        forget_at: now.saturating_add(claims.left(now, clock::steady_millis())),
        displaced: Some(displaced.uid.clone()),
    };
    login.revocations.add(revocation.clone());
    let done = |done: Result<(), StoreError>| {
        if let Err(error) = done {
            tracing::warn!(%error, "the revocation of a displaced device's token could not be stored; it is in force until the next start");
        }
    };
    login.record.store.revoke(revocation, Box::new(done));
}
