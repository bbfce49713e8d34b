//! Who is connected, to this node and to the others.

use std::collections::HashSet;

use mynah_cluster::{Answer, Ask, Shown};

use super::entries::Entries;
use super::login::Login;
use crate::clock;
use crate::cluster::Elsewhere;
use crate::ids::Uid;

/// The connections of a user.
pub(crate) struct Present {
    /// Whether the user counts as connected: has a connection, or had one to a node that has just ended.
    pub(crate) is_online: bool,
    /// The connections to all nodes, oldest first.
    pub(crate) connections: Vec<Shown>,
}

/// Returns the users among `uids` who count as connected, in the same order. While the directory of all nodes
/// cannot be reached, only the connections to this node count.
pub(crate) async fn online(login: &Login, uids: &[Uid]) -> Vec<Uid> {
    let is_here = |uid: &&Uid| login.registry.is_online(uid);
    let Some(entries) = &login.entries else {
        return uids.iter().filter(is_here).cloned().collect();
    };
    let unknown: Vec<_> = uids.iter().filter(|uid| !is_here(uid)).cloned().collect();
    let found = match unknown[..] {
        [] => Ok(Vec::new()),
        _ => entries.cluster.find(&unknown).await,
    };
    let found = found.unwrap_or_default();
    let elsewhere = unknown.iter().zip(&found);
    let elsewhere: HashSet<_> = elsewhere
        .filter(|(_, elsewhere)| elsewhere.is_online())
        .map(|(uid, _)| uid)
        .collect();
    uids.iter()
        .filter(|uid| elsewhere.contains(uid) || is_here(uid))
        .cloned()
        .collect()
}

/// Returns up to `most` of the users who are connected, in no particular order.
pub(crate) async fn names(login: &Login, most: usize) -> Vec<Uid> {
    let mut names = login.registry.names(most);
    let Some(entries) = &login.entries else {
        return names;
    };
    if names.len() < most {
        let ask = Ask::Names(u16::try_from(most).unwrap_or(u16::MAX));
        let mut known: HashSet<_> = names.iter().cloned().collect();
        for answer in entries.cluster.ask_all(ask).await.given {
            if let Answer::Users(uids) = answer {
                names.extend(uids.into_iter().filter(|uid| known.insert(uid.clone())));
            }
        }
        names.truncate(most);
    }
    names
}

/// Returns the connections of a user.
pub(crate) async fn connections(login: &Login, uid: &Uid) -> Present {
    let mut connections = connections_here(login, uid);
    let mut returns = false;
    if let Some(entries) = &login.entries
        && let Some(elsewhere) = found_elsewhere(entries, uid).await
    {
        returns = elsewhere.returns;
        let ask = Ask::Connections(uid.clone());
        for answer in entries.cluster.ask(elsewhere.nodes, ask).await.given {
            if let Answer::Connections(others) = answer {
                connections.extend(others);
            }
        }
        connections.sort_by_key(|shown| std::cmp::Reverse(shown.age_ms));
    }
    Present {
        is_online: returns || !connections.is_empty(),
        connections,
    }
}

async fn found_elsewhere(entries: &Entries, uid: &Uid) -> Option<Elsewhere> {
    let found = entries.cluster.find(std::slice::from_ref(uid)).await;
    found.ok()?.pop()
}

/// Returns the connections of a user to this node, oldest first.
pub(super) fn connections_here(login: &Login, uid: &Uid) -> Vec<Shown> {
    let (now, mut connections) = (clock::unix_millis(), Vec::new());
    login.registry.connections(uid, |link, registration| {
        let outlet = link.outlet();
        connections.push(Shown {
            sid: outlet.sid().into(),
            device: registration.device.clone(),
            platform: registration.platform.clone(),
            class: registration.class.clone(),
            since: registration.since,
            age_ms: now.saturating_sub(registration.since),
            is_websocket: outlet.transport() == "websocket",
            address: outlet.address().ip().to_string().into(),
        });
    });
    connections
}
