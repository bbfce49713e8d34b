//! Ends registrations: of connections that are displaced (kind 12), signed out, expired or closed.

use std::sync::Arc;

use mynah_cluster::Ask;
use serde::Serialize;

use super::authorize::expired;
use super::login::Login;
use crate::claims::Claims;
use crate::clock;
use crate::directory::{Connection, Ousted, Registration};
use crate::frame::{Frame, raw};
use crate::ids::{DeviceId, Uid};
use crate::kinds::Kind;
use crate::session::{Farewell, Link, refusal};
use crate::time::UnixMillis;

/// `data` of kind 12.
#[derive(Serialize)]
struct Replaced<'a> {
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deviceid: Option<&'a DeviceId>,
    platform: Option<&'a str>,
    ts: UnixMillis,
}

/// The device whose register ends other registrations. Nothing is known of it if this node was told late.
#[derive(Default)]
pub(super) struct By<'a> {
    pub(super) device: Option<&'a DeviceId>,
    pub(super) platform: Option<&'a str>,
}

impl<'a> From<&'a Registration> for By<'a> {
    fn from(registration: &'a Registration) -> Self {
        Self {
            device: Some(&registration.device),
            platform: registration.platform.as_deref(),
        }
    }
}

/// Handles the end of a registration because of a newer one: closes a stale connection, and tells a
/// displaced one. The caller holds the lock of the user's shard, so that nothing is sent after kind 12.
pub(super) fn oust(login: &Login, link: &Link, by: &By<'_>, why: Ousted) {
    tracing::debug!(sid = link.outlet().sid(), ?why, "lost its registration");
    match why {
        Ousted::Stale => link.close_now(),
        Ousted::Displaced => {
            login.metrics.displaced.inc();
            let ts = clock::unix_millis();
            let replaced = raw(&Replaced {
                reason: "replaced",
                deviceid: by.device,
                platform: by.platform,
                ts,
            });
            link.part(Farewell {
                last: Some(Frame::notice(Kind::DifferentConnection, &replaced, ts)),
                away: !login.registry.displaced_stay(),
            });
        }
    }
}

/// Disconnects all of a user's connections for good, on all nodes. Returns their number.
pub(crate) async fn sign_out(login: &Login, uid: &Uid) -> usize {
    let ended = sign_out_here(login, uid);
    match &login.entries {
        Some(entries) => ended + entries.cluster.ask_all(Ask::SignOut(uid.clone())).await.count() as usize,
        None => ended,
    }
}

/// Disconnects a user's connections to this node for good. Returns their number.
pub(super) fn sign_out_here(login: &Login, uid: &Uid) -> usize {
    login.registry.end(
        uid,
        |_| true,
        |link, registration| part(login, link, registration),
    )
}

/// Disconnects a connection for good, after its registration has ended.
pub(super) fn part(login: &Login, link: &Link, registration: &Registration) {
    login.release(&registration.uid, link);
    link.part(Farewell {
        last: None,
        away: true,
    });
}

/// From now on, users whose connections end count as connected for a while: this node stops, and they
/// reconnect to others.
pub(crate) fn users_return(login: &Login) {
    if let Some(entries) = &login.entries {
        entries.stay();
    }
}

/// Ends the registration of a connection that has closed, and returns it. If the connection has `vanished`
/// without a close, the client may not have received what was sent last.
pub(crate) fn closed(
    login: &Login,
    connection: &Arc<Connection<Link>>,
    vanished: bool,
) -> Option<Arc<Registration>> {
    let registration = login.registry.close(connection)?;
    login.release(&registration.uid, &connection.link);
    if let Some(reached) = &login.reached {
        reached.ended(&registration.uid, &connection.link, vanished);
    }
    Some(registration)
}

/// Ends the registration of a connection whose claims have expired, and closes it to reconnect.
pub(crate) fn expire(login: &Login, connection: &Arc<Connection<Link>>) {
    let over = |claims: &Claims| claims.left(clock::unix_millis(), clock::steady_millis()) == 0;
    let registration = connection.registration();
    let Some(registration) = registration.filter(|it| it.claims.as_deref().is_some_and(over)) else {
        return;
    };
    let link = &connection.link;
    tracing::debug!(sid = link.outlet().sid(), uid = %registration.uid, "its token has expired");
    login.metrics.auth_expired.inc();
    login.unregister(connection);
    link.expire(&Frame::response(
        Kind::RegisterRes.number(),
        None,
        &refusal(&expired(), None),
    ));
}
