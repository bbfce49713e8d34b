//! Ends registrations: of connections that are displaced (kind 12), signed out, expired or closed.

use std::sync::Arc;

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
    deviceid: &'a DeviceId,
    platform: Option<&'a str>,
    ts: UnixMillis,
}

/// Handles the end of a registration because of a newer one: closes a stale connection, and tells a
/// displaced one. The caller holds the lock of the user's shard, so that nothing is sent after kind 12.
pub(super) fn oust(login: &Login, link: &Link, by: &Registration, why: Ousted) {
    tracing::debug!(sid = link.outlet().sid(), uid = %by.uid, ?why, "lost its registration");
    match why {
        Ousted::Stale => link.close_now(),
        Ousted::Displaced => {
            login.metrics.displaced.inc();
            let ts = clock::unix_millis();
            let replaced = raw(&Replaced {
                reason: "replaced",
                deviceid: &by.device,
                platform: by.platform.as_deref(),
                ts,
            });
            link.part(Farewell {
                last: Some(Frame::notice(Kind::DifferentConnection, &replaced, ts)),
                away: !login.registry.displaced_stay(),
            });
        }
    }
}

/// Disconnects all of a user's connections for good. Returns their number.
pub(crate) fn sign_out(login: &Login, uid: &Uid) -> usize {
    login.registry.end(uid, |_| true, part)
}

/// Disconnects a connection for good, after its registration has ended.
pub(super) fn part(link: &Link) {
    link.part(Farewell {
        last: None,
        away: true,
    });
}

/// Ends the registration of a connection that has closed, and returns it. If the connection has `vanished`
/// without a close, the client may not have received what was sent last.
pub(crate) fn closed(
    login: &Login,
    connection: &Arc<Connection<Link>>,
    vanished: bool,
) -> Option<Arc<Registration>> {
    let registration = login.registry.close(connection)?;
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
    login.registry.unregister(connection);
    link.expire(&Frame::response(
        Kind::RegisterRes.number(),
        None,
        &refusal(&expired(), None),
    ));
}
