//! The orders of a batch, sorted by what is done for them.

use std::collections::HashSet;

use mynah_store::ids::{ConvId, Seq};
use mynah_store::{Append, Device, DeviceRegister, JobId, JobOutcome, Place, Read, Revocation, UnixMillis};

use super::append::pair_or_notices;
use crate::queue::Order;

/// The orders of a batch, sorted by what is done for them.
#[derive(Default)]
pub(crate) struct Sorted<'a> {
    pub(crate) appends: Vec<&'a Append>,
    pub(crate) acks: Vec<(&'a Device, ConvId, Seq)>,
    pub(crate) reads: Vec<&'a Read>,
    pub(crate) registers: Vec<&'a DeviceRegister>,
    pub(crate) had: Vec<(&'a Device, i64)>,
    pub(crate) finished: Vec<(JobId, &'a JobOutcome)>,
    pub(crate) released: Vec<JobId>,
    /// How long all leases are extended, in milliseconds, or until when.
    pub(crate) extended: Option<(u64, Option<UnixMillis>)>,
    pub(crate) revocations: Vec<&'a Revocation>,
}

impl<'a> Sorted<'a> {
    pub(crate) fn of(orders: &'a [Order]) -> Self {
        let mut sorted = Self::default();
        for order in orders {
            match order {
                Order::Append(order) => sorted.appends.push(order),
                Order::Ack(device, conv, seq) => sorted.acks.push((device, *conv, *seq)),
                Order::Read(read) => sorted.reads.push(read),
                Order::RegisterDevice(register) => sorted.registers.push(register),
                Order::Had(device, row) => sorted.had.push((device, *row)),
                Order::FinishJobs(outcomes) => {
                    sorted
                        .finished
                        .extend(outcomes.iter().map(|(id, outcome)| (*id, outcome)));
                }
                Order::Revoke(revocation) => sorted.revocations.push(revocation),
                Order::Release(jobs) => sorted.released.extend(jobs),
                Order::Extend(lease_ms, until) => sorted.extended = Some((*lease_ms, *until)),
                Order::ChangeTeam(..)
                | Order::Recall(..)
                | Order::ReviveJobs(..)
                | Order::Claim(..)
                | Order::Change(..) => {}
            }
        }
        sorted
    }

    /// Whether a message or a read position is among them, which have to survive a crash.
    pub(crate) fn is_lasting(&self) -> bool {
        !(self.appends.is_empty()
            && self.reads.is_empty()
            && self.registers.is_empty()
            && self.finished.is_empty()
            && self.revocations.is_empty())
    }
}

/// Returns how many orders fit into one transaction. These must wait for the next one, which can read what
/// this one has written: a read position in a conversation that gets a message in this transaction; an order
/// of a device that registers in it; and the register of a device whose user may get a message in it.
pub(crate) fn fitting<'a>(orders: impl Iterator<Item = &'a Order> + Clone) -> usize {
    let registers = orders
        .clone()
        .any(|order| matches!(order, Order::RegisterDevice(_)));
    let (mut written, mut teams) = (HashSet::new(), false);
    let (mut registered, mut recipients) = (HashSet::new(), HashSet::new());
    let fits = |order: &&'a Order| match order {
        Order::Append(order) => {
            match pair_or_notices(order) {
                Some(conv) => drop(written.insert(conv)),
                // A team's conversation is not known yet.
                None => teams = true,
            }
            if registers {
                recipients.extend(match &order.place {
                    Place::Pair { to, .. } | Place::Notices(to) => Some(to),
                    Place::Team(_) => None,
                });
                recipients.extend(&order.from);
            }
            order.from.as_ref().is_none_or(|from| !registered.contains(from))
        }
        Order::Read(read) => !teams && !written.contains(&read.conv) && !registered.contains(&read.by.uid),
        Order::Ack(device, ..) | Order::Had(device, _) => !registered.contains(&device.uid),
        Order::RegisterDevice(register) => {
            let uid = &register.device.uid;
            registered.insert(uid);
            !teams && !recipients.contains(uid)
        }
        _ => true,
    };
    orders.take_while(fits).count()
}
