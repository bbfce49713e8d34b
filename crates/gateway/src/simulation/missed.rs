//! Checks of what the store says about the cursors of a device and the conversations of its user.

use std::collections::BTreeMap;

use super::hub::HubState;
use crate::ids::{ConvId, Uid};
use crate::store::{Conversations, Device, Missed};

/// The lowest possible cursors of a device when a request was made.
#[derive(Default)]
pub(super) struct Least {
    /// The number of losses at that time.
    losses: u64,
    cursors: BTreeMap<ConvId, u64>,
}

impl HubState {
    /// Returns the lowest possible cursor in a response. What was lost in the meantime may be missing from
    /// it.
    fn low(&self, least: &Least, device: &Device, conv: ConvId) -> u64 {
        if least.losses == self.devices.losses {
            return least.cursors.get(&conv).copied().unwrap_or(0);
        }
        self.devices.base(device, conv)
    }

    /// Returns the floor of a user in a conversation.
    pub(super) fn floor(&self, conv: ConvId, uid: &Uid) -> u64 {
        let Some(conv) = self.truth.convs.get(&conv) else {
            return 0;
        };
        let departure = conv.departure(uid).map(|(floor, _)| floor);
        departure.or(conv.floors.get(uid).copied()).unwrap_or(0)
    }

    /// Returns the lowest possible cursors of a device.
    pub(super) fn cursors(&self, device: &Device) -> Least {
        let uid = &device.uid;
        let convs = self.truth.of(uid).map(|(id, _)| id);
        let cursors = convs
            .map(|id| (id, self.devices.range(device, id, self.floor(id, uid)).0))
            .collect();
        Least {
            losses: self.devices.losses,
            cursors,
        }
    }

    /// Returns the lowest possible cursors of a device, from what was in the file when it registered.
    pub(super) fn settled(&self, device: &Device) -> Least {
        let uid = &device.uid;
        let convs = self.truth.of(uid).map(|(id, _)| id);
        let left = self.truth.left_by(uid).map(|(id, ..)| id);
        let cursors = convs
            .chain(left)
            .map(|id| (id, self.devices.settled(device, id, self.floor(id, uid))))
            .collect();
        Least {
            losses: self.devices.losses,
            cursors,
        }
    }

    /// Checks that every conversation with unread or unacknowledged messages is listed with its numbers, and
    /// that what must be replayed begins at the cursor and ends at the head.
    pub(super) fn check_missed(&self, device: &Device, least: &Least, missed: &Missed) -> Result<(), String> {
        let uid = &device.uid;
        let about = |what: String| format!("missed of {uid} {}: {what}", device.device);
        if missed.unread != self.truth.unread(uid) {
            let due = self.truth.unread(uid);
            return Err(about(format!("{} unread, not {due}", missed.unread)));
        }
        let listed: BTreeMap<ConvId, _> = missed
            .conversations
            .iter()
            .map(|line| (line.conv, line))
            .collect();
        let mut pending = (0, 0);
        let convs = self
            .truth
            .of(uid)
            .map(|(id, conv)| (id, conv.head(), conv.read(uid), conv.unread(uid), false));
        let left = self
            .truth
            .left_by(uid)
            .filter(|_| self.devices.knows(device))
            .map(|(id, _, (_, seq))| (id, seq, seq, 0, true));
        for (id, head, read, unread, has_left) in convs.chain(left) {
            let (_, high) = self.devices.range(device, id, self.floor(id, uid));
            let low = self.low(least, device, id);
            let stretches = if has_left { &missed.left } else { &missed.behind };
            let behind = stretches.iter().find(|stretch| stretch.conv == id);
            if has_left && high < head && behind.is_none() {
                return Err(about(format!("the rest of {id} is not replayed")));
            }
            if !has_left {
                pending = (
                    pending.0 + head - high.min(head),
                    pending.1 + head - low.min(head),
                );
            }
            let Some(line) = listed.get(&id) else {
                if !missed.more && (unread > 0 || high < head) {
                    return Err(about(format!(
                        "{id} is not listed: {unread} unread, {high} of {head}"
                    )));
                }
                continue;
            };
            if (line.head.0, line.read.0, line.unread) != (head, read, unread) {
                return Err(about(format!(
                    "{line:?}, not head {head} read {read} unread {unread}"
                )));
            }
            if !(low..=high).contains(&line.cursor.0) {
                return Err(about(format!("{line:?}, not cursor {low} to {high}")));
            }
            if let Some(behind) = behind
                && (behind.after, behind.through) != (line.cursor, line.head)
            {
                return Err(about(format!("{behind:?} of {line:?}")));
            }
        }
        let foreign = listed.keys().find(|id| {
            let mut left = self.truth.left_by(uid);
            !self.truth.of(uid).any(|(own, _)| own == **id) && !left.any(|(own, ..)| own == **id)
        });
        if let Some(foreign) = foreign {
            return Err(about(format!("{foreign} is a conversation of others")));
        }
        if !(pending.0..=pending.1).contains(&missed.pending) {
            return Err(about(format!("{} pending, not {pending:?}", missed.pending)));
        }
        Ok(())
    }

    /// Checks a page of a device's conversations. If the first page is also the last one, it must list them
    /// all.
    pub(super) fn check_listed(
        &self,
        device: &Device,
        least: &Least,
        page: &Conversations,
        first: bool,
    ) -> Result<(), String> {
        let uid = &device.uid;
        let mut due: Vec<_> = self.truth.of(uid).map(|(id, _)| id).collect();
        for line in &page.conversations {
            let conv = due
                .iter()
                .position(|id| *id == line.conv)
                .map(|at| due.swap_remove(at));
            let Some(conv) = conv.and_then(|id| self.truth.convs.get(&id)) else {
                return Err(format!("{uid} is listed {line:?}"));
            };
            let (_, high) = self.devices.range(device, line.conv, self.floor(line.conv, uid));
            let low = self.low(least, device, line.conv);
            let last = Some(conv.head()).filter(|head| conv.owes(uid, *head));
            let due = (conv.head(), conv.read(uid), conv.unread(uid), last);
            let last = line.last.as_ref().map(|last| last.seq.0);
            let cursor = line.cursor.0;
            if (line.head.0, line.read.0, line.unread, last) != due
                || line.kind != conv.kind
                || (self.devices.knows(device) && !(low..=high).contains(&cursor))
            {
                return Err(format!(
                    "{uid} {} is listed {line:?}, not {due:?}, cursor {low} to {high}",
                    device.device
                ));
            }
        }
        if first && page.next.is_none() && !due.is_empty() {
            return Err(format!("{uid} is not listed {due:?}"));
        }
        Ok(())
    }
}
