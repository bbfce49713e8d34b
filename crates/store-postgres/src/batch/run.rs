//! Executes the orders of a batch in memory, one after the other.

use mynah_store::ids::Seq;
use mynah_store::{Appended, DueJobs, ReadMark, Recalled, StoreError, TeamChanged};

use super::state::Batch;
use crate::queue::Order;

/// The result of an order, kept until the commit.
pub(crate) enum Outcome {
    Appended(Result<Appended, StoreError>),
    Acked(Result<Seq, StoreError>),
    Read(Result<ReadMark, StoreError>),
    Changed(Result<TeamChanged, StoreError>),
    Recalled(Result<Recalled, StoreError>),
    Claimed(DueJobs),
    Done,
}

impl<'a> Batch<'a> {
    /// Executes the orders that have results, in order.
    pub(crate) fn run(&mut self, orders: &'a [Order]) -> Vec<Outcome> {
        let outcomes = orders.iter().map(|order| match order {
            Order::Append(order) => Outcome::Appended(self.append(order)),
            Order::Ack(device, conv, seq) => Outcome::Acked(self.ack(device, *conv, *seq)),
            Order::Read(read) => Outcome::Read(self.read(read)),
            _ => Outcome::Done,
        });
        outcomes.collect()
    }
}
