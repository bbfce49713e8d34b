//! Moves the cursors of devices and the read positions of users, in memory.

use mynah_store::ids::{ConvId, Seq, Uid};
use mynah_store::{ConvKind, Device, Read, ReadMark, StoreError};

use super::state::{Batch, NewRead};
use crate::values::uuid;

/// Precision of the time when a device was last active, in milliseconds.
const SEEN_MS: u64 = 3_600_000;

/// Returns the side of `uid` in the conversation; `None` for teams, whose members have no side.
pub(crate) fn side(kind: &ConvKind, uid: &Uid) -> Option<usize> {
    match kind {
        ConvKind::Pair(_, a, _) => Some(usize::from(uid != a)),
        ConvKind::Notices(_) => Some(0),
        ConvKind::Team(_) => None,
    }
}

impl Batch<'_> {
    /// Returns the device's row, if it is known, and records that it is active.
    pub(crate) fn used(&mut self, device: &Device) -> Option<i64> {
        let now = self.moment.measured;
        let known = self.devices.get_mut(device)?;
        if now.abs_diff(known.seen) > SEEN_MS {
            known.seen = now;
            self.seen.insert(known.id, now);
        }
        Some(known.id)
    }

    /// Returns the cursor of a device in a conversation with this head. `floor` is the floor of its user.
    pub(crate) fn cursor(&self, device: i64, (conv, head): (ConvId, u64), floor: u64) -> u64 {
        let cursor = self.cursors.get(&(device, conv)).copied().unwrap_or_default();
        if cursor < head { cursor.max(floor) } else { cursor }
    }

    /// Moves a cursor forward.
    pub(crate) fn advance(&mut self, device: i64, conv: ConvId, seq: u64) {
        self.cursors.insert((device, conv), seq);
        self.advanced.insert((device, uuid(conv)), seq);
    }

    fn has(&mut self, device: &Device, at: (ConvId, u64), floor: u64, seq: u64) {
        let Some(known) = self.used(device) else { return };
        if self.cursor(known, at, floor) < seq {
            self.advance(known, at.0, seq);
        }
    }

    /// A device has everything in `conv` up to `seq`.
    pub(crate) fn ack(&mut self, device: &Device, conv: ConvId, seq: Seq) -> Result<Seq, StoreError> {
        let seat = self.seats.get(&(device.uid.clone(), conv));
        let Some((head, inside)) = seat.and_then(|seat| seat.head.zip(seat.inside)) else {
            return self.ack_of_departed(device, conv, seq);
        };
        let to = seq.0.min(head);
        self.has(device, (conv, head), inside.floor, to);
        Ok(Seq(to))
    }

    /// A device acknowledges messages of a team that its user has left. Fails if they were acknowledged
    /// before, with the same error as for a user who was never in the conversation.
    fn ack_of_departed(&mut self, device: &Device, conv: ConvId, Seq(seq): Seq) -> Result<Seq, StoreError> {
        let seat = self.seats.get(&(device.uid.clone(), conv));
        let left = seat.filter(|seat| seat.head.is_some()).and_then(|seat| seat.left);
        let Some((known, (head, floor))) = self.devices.get(device).zip(left) else {
            return Err(StoreError::NOT_IN_IT);
        };
        let to = seq.min(head);
        if self.cursor(known.id, (conv, head), floor) >= to {
            return Err(StoreError::NOT_IN_IT);
        }
        self.has(device, (conv, head), floor, to);
        Ok(Seq(to))
    }

    /// A user has read up to a message, and its device has everything up to there.
    pub(crate) fn read(&mut self, read: &Read) -> Result<ReadMark, StoreError> {
        let (uid, conv) = (&read.by.uid, read.conv);
        let key = (uid.clone(), conv);
        let seat = self.seats.get(&key).cloned().unwrap_or_default();
        let Some((inside, kind)) = seat.inside.zip(seat.kind.clone()) else {
            return Ok(ReadMark {
                seq: self.ack_of_departed(&read.by, conv, read.seq)?,
                moved: false,
                kind: seat.kind.ok_or(StoreError::NotFound("conversation"))?,
                members: None,
            });
        };
        let head = self
            .heads
            .get(&conv)
            .map(|head| head.seq)
            .or(seat.head)
            .unwrap_or_default();
        let to = read.seq.0.min(head);
        self.has(&read.by, (conv, head), inside.floor, to);
        let moved = to > inside.read;
        if moved && let Some(at) = self.at_messages.get(&(uid.clone(), conv, to)).copied() {
            if let Some(inside) = self.seats.get_mut(&key).and_then(|seat| seat.inside.as_mut()) {
                inside.read = to;
            }
            if let Some((side, head)) = side(&kind, uid).zip(self.heads.get_mut(&conv)) {
                let others = (head.counted - at.counted).saturating_sub(head.sent[side] - at.own);
                head.unread[side] = others.saturating_sub(at.recalled_after);
                head.is_dirty = true;
            }
            self.reads
                .insert((uid.clone(), uuid(conv)), NewRead { seq: to, at });
        }
        let members = match &kind {
            ConvKind::Team(_) => self.members.get(&conv).cloned(),
            ConvKind::Pair(..) | ConvKind::Notices(_) => None,
        };
        Ok(ReadMark {
            seq: Seq(inside.read.max(to)),
            moved,
            kind,
            members,
        })
    }
}
