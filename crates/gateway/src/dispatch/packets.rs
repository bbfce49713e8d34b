//! Carries out what other nodes send.

use std::sync::Arc;

use mynah_cluster::{Inbox, Incarnation, Packet, Received};

use super::login::Login;
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

fn carry_out(cluster: &Cluster, _login: &Login, from: Incarnation, packet: Packet) {
    match packet {
        Packet::Answer { number, answer } => cluster.questions().answer(from, number, answer),
        Packet::Message(_) | Packet::Oust(_) | Packet::Question { .. } => {}
    }
}
