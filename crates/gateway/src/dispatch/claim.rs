//! Claims: a connection that registers is entered in the directory of all nodes, which applies the login
//! policy to the user's connections on all nodes.
//!
//! Invariants: of two connections that register at the same moment, the one that the directory took last
//! remains. What the directory has removed ends on its node, which may learn of it before it has the answer
//! to that connection's own claim. Whatever else ends a registration is followed by a release. While the
//! directory cannot be reached, the login policy applies to the connections of this node; `refresh` repairs
//! the rest.

use std::sync::Arc;

use mynah_cluster::{Claimed, Oust, Packet, To, Why};

use super::login::Login;
use super::revoke::revoke_displaced;
use super::unregister::{By, oust};
use crate::clock;
use crate::directory::{Connection, Ousted, Registration, Removed};
use crate::ids::Uid;
use crate::session::Link;

/// Claims for a connection that is in the registry, and waits for the directory's answer. It has returned
/// when the connections of this node that the claim has removed are told.
pub(super) async fn claim(
    login: &Arc<Login>,
    connection: &Arc<Connection<Link>>,
    registration: &Arc<Registration>,
) {
    // The answer is needed even if the connection closes meanwhile, so a task of its own waits for it.
    let claiming = carry_out(login.clone(), connection.clone(), registration.clone());
    if let Err(error) = tokio::spawn(claiming).await
        && error.is_panic()
    {
        tracing::error!(%error, "a claim has failed");
    }
}

async fn carry_out(login: Arc<Login>, connection: Arc<Connection<Link>>, registration: Arc<Registration>) {
    let Some(entries) = &login.entries else { return };
    let entry = entries.entry(&connection.link, &registration);
    let uid = &registration.uid;
    entries.begins(uid, &entry.sid);
    // The number of a claim is the directory's time in microseconds. If there is no answer, this one is
    // compared with others once the directory can be reached.
    let begun = clock::unix_millis().saturating_mul(1_000).max(1);
    let claimed = entries.cluster.claim(uid, &entry).await;
    let mut early = None;
    let is_registered = match &claimed {
        Ok(Claimed { order, .. }) => {
            let take_early = || early = entries.take_early(&entry.sid);
            login
                .registry
                .claimed(&connection, &registration, order.0, take_early)
        }
        Err(failure) => {
            tracing::debug!(%failure, "the login policy applies to this node only");
            let by = By::from(&*registration);
            let displaced = |link: &Link, why, old: &Registration, _: &Registration| {
                ousted(&login, link, why, old, &by);
                entries.release(&old.uid, link.outlet().sid());
            };
            let stays = login
                .registry
                .displace(&connection, &registration, begun, displaced);
            entries.take_early(&entry.sid);
            entries.failed.notify_one();
            stays
        }
    };
    if !is_registered {
        entries.release(uid, &entry.sid);
    }
    if let Ok(claimed) = claimed {
        tell(&login, uid, claimed.ousted, &By::from(&*registration));
    }
    if let Some(early) = early {
        removed(&login, &early);
    }
}

/// Ends connections that a claim has removed from the directory, on this node and on others.
pub(super) fn tell(login: &Login, uid: &Uid, ousted: Vec<mynah_cluster::Ousted>, by: &By<'_>) {
    let Some(entries) = &login.entries else { return };
    for ousted in ousted {
        let node = ousted.entry.node;
        let oust = Oust {
            uid: uid.clone(),
            sid: ousted.entry.sid,
            order: ousted.order,
            why: ousted.why,
            by_device: by.device.cloned(),
            by_platform: by.platform.map(Into::into),
        };
        if node == entries.cluster.own() {
            removed(login, &oust);
        } else {
            entries.cluster.send(To::Node(node), &Packet::Oust(oust));
        }
    }
}

/// Ends a connection of this node that a claim has removed from the directory.
pub(super) fn removed(login: &Login, oust: &Oust) {
    let Some(entries) = &login.entries else { return };
    let why = match oust.why {
        Why::Stale => Ousted::Stale,
        Why::Displaced => Ousted::Displaced,
    };
    let by = By {
        device: oust.by_device.as_ref(),
        platform: oust.by_platform.as_deref(),
    };
    login.registry.oust_claim(
        Removed {
            uid: &oust.uid,
            why,
            claim: oust.order.0,
        },
        |link| link.outlet().sid() == &*oust.sid,
        |link, old| ousted(login, link, why, old, &by),
        || entries.remember(oust),
    );
}

/// Handles the end of a registration because of a newer one. The caller holds the lock of the user's shard.
pub(super) fn ousted(login: &Login, link: &Link, why: Ousted, old: &Registration, by: &By<'_>) {
    if why == Ousted::Displaced {
        if login.config.login.revoke_displaced {
            revoke_displaced(login, old);
        }
        if let Some(reached) = &login.reached {
            reached.ended(&old.uid, link, false);
        }
    }
    oust(login, link, by, why);
}
