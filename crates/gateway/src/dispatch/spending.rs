//! Tells the other nodes what users and API keys have used up of their limits, which hold for all nodes
//! together.
//!
//! Each node counts by itself, so that nobody waits. What a user has used up elsewhere is subtracted here
//! within half a second. Until then, and as long as a user uses up little on each node, nodes together may
//! accept somewhat more than the limit.

use std::sync::Arc;
use std::time::Duration;

use mynah_cluster::{Packet, Spent, To};

use crate::clock;
use crate::cluster::Cluster;
use crate::rate::UserBuckets;

/// Time between two packets.
const EVERY: Duration = Duration::from_millis(500);
/// The maximum number of entries of each kind in one packet.
const AT_ONCE: usize = 1_000;

/// The limits that hold for all nodes together.
#[derive(Clone)]
pub(super) struct Spending {
    pub(super) registers: Arc<UserBuckets<1>>,
    pub(super) sends: Arc<UserBuckets<2>>,
    /// The keys of the API, by name.
    pub(super) calls: Arc<UserBuckets<1>>,
}

impl Spending {
    /// Tells the other nodes from time to time.
    pub(super) async fn tell(self, cluster: Arc<Cluster>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let (mut registers, mut sends) = (self.registers.take_spent(), self.sends.take_spent());
            let mut calls = self.calls.take_spent();
            while !registers.is_empty() || !sends.is_empty() || !calls.is_empty() {
                let spent = Spent {
                    registers: registers.split_off(registers.len().saturating_sub(AT_ONCE)),
                    sends: sends.split_off(sends.len().saturating_sub(AT_ONCE)),
                    calls: calls.split_off(calls.len().saturating_sub(AT_ONCE)),
                };
                cluster.send(To::All, &Packet::Spent(spent));
            }
        }
    }

    /// Subtracts what users have used up on another node.
    pub(super) fn subtract(&self, spent: &Spent) {
        let now = clock::now();
        for (uid, tokens) in &spent.registers {
            self.registers.subtract(uid, now, *tokens);
        }
        for (uid, tokens) in &spent.sends {
            self.sends.subtract(uid, now, *tokens);
        }
        for (name, tokens) in &spent.calls {
            self.calls.subtract(name, now, *tokens);
        }
    }
}
