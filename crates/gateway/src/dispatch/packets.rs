//! Carries out what other nodes send.

use std::sync::Arc;

use mynah_cluster::{Answer, Ask, Inbox, Incarnation, Packet, Received, To};

use super::claim::removed;
use super::login::Login;
use super::online::connections_here;
use super::revoke::revoke_here;
use super::unregister::sign_out_here;
use crate::cluster::Cluster;

/// The maximum number of packets that are taken at once.
const AT_ONCE: usize = 256;

/// Carries out packets in the order of their arrival, until the bus ends.
pub(super) async fn receive(cluster: Arc<Cluster>, login: Arc<Login>, mut inbox: Inbox) {
    let mut packets = Vec::new();
    while inbox.receive(&mut packets, AT_ONCE).await > 0 {
        for Received { from, body } in packets.drain(..) {
            match Packet::decode(&body) {
                Ok(packet) => carry_out(&cluster, &login, from, packet),
                // A node of another version; the record has what it wanted to say.
                Err(error) => tracing::debug!(%from, %error, "a packet of another node cannot be read"),
            }
        }
    }
}

fn carry_out(cluster: &Cluster, login: &Login, from: Incarnation, packet: Packet) {
    match packet {
        Packet::Answer { number, answer } => cluster.questions().answer(from, number, answer),
        Packet::Spent(spent) => login.spending.subtract(&spent),
        Packet::Question { number, ask } => {
            let answer = answer(login, ask);
            cluster.send(To::Node(from), &Packet::Answer { number, answer });
        }
        Packet::Oust(oust) => removed(login, &oust),
        Packet::Ended(ended) => {
            if let Some(reached) = &login.reached {
                reached.ended_elsewhere(ended);
            }
        }
        Packet::Message(message) => login.record.delivery.receive(from, message),
    }
}

fn answer(login: &Login, ask: Ask) -> Answer {
    match ask {
        Ask::SignOut(uid) => Answer::Count(sign_out_here(login, &uid) as u64),
        Ask::Revoke(revocation) => Answer::Count(revoke_here(login, revocation) as u64),
        Ask::Connections(uid) => Answer::Connections(connections_here(login, &uid)),
        Ask::Shows(messages) => Answer::Shows(match &login.reached {
            Some(reached) => reached.shows(&messages),
            None => Vec::new(),
        }),
        Ask::Names(most) => Answer::Users(login.registry.names(most.into())),
    }
}
