//! Where devices stand, as far as the store has answered: a cursor is never beyond what was acknowledged, never before where the device
//! began, and exact as long as the server has not crashed, which may cost the newest acknowledgements.

use std::collections::BTreeMap;

use crate::ids::{ConvId, DeviceId, Uid};
use crate::store::Device;

type Cursors = BTreeMap<ConvId, u64>;

/// A known device.
#[derive(Debug, Default)]
struct Known {
    /// The heads when it became known.
    base: Cursors,
    /// Acknowledged since the last crash; ever.
    sure: Cursors,
    most: Cursors,
    /// Acknowledged before it last entered, and since the last crash.
    settled: Cursors,
}

/// See the module.
#[derive(Default)]
pub(super) struct Devices {
    known: BTreeMap<(Uid, DeviceId), Known>,
    /// How often acknowledgements were lost.
    pub(super) losses: u64,
}

fn key(device: &Device) -> (Uid, DeviceId) {
    (device.uid.clone(), device.device.clone())
}

fn at(cursors: &Cursors, conv: ConvId) -> u64 {
    cursors.get(&conv).copied().unwrap_or(0)
}

fn raise(cursors: &mut Cursors, conv: ConvId, seq: u64) {
    let cursor = cursors.entry(conv).or_default();
    *cursor = seq.max(*cursor);
}

impl Devices {
    /// A device begins at the heads, unless it is known.
    pub(super) fn entered(&mut self, device: &Device, heads: impl FnOnce() -> Cursors) {
        let known = self.known.entry(key(device)).or_insert_with(|| Known {
            base: heads(),
            ..Known::default()
        });
        known.settled = known.sure.clone();
    }

    /// It has everything up to `seq`.
    pub(super) fn acked(&mut self, device: &Device, conv: ConvId, seq: u64) {
        if let Some(known) = self.known.get_mut(&key(device)) {
            raise(&mut known.sure, conv, seq);
            raise(&mut known.most, conv, seq);
        }
    }

    /// It has sent message `seq`, which it has too if it had everything before.
    pub(super) fn sent(&mut self, device: &Device, conv: ConvId, seq: u64, floor: u64) {
        let (low, high) = self.range(device, conv, floor);
        if let Some(known) = self.known.get_mut(&key(device)) {
            if low + 1 >= seq {
                raise(&mut known.sure, conv, seq);
            }
            if high + 1 >= seq {
                raise(&mut known.most, conv, seq);
            }
        }
    }

    pub(super) fn crashed(&mut self) {
        self.losses += 1;
        for known in self.known.values_mut() {
            known.sure.clear();
            known.settled.clear();
        }
    }

    pub(super) fn knows(&self, device: &Device) -> bool {
        self.known.contains_key(&key(device))
    }

    /// Where the device began.
    pub(super) fn base(&self, device: &Device, conv: ConvId) -> u64 {
        self.known
            .get(&key(device))
            .map_or(0, |known| at(&known.base, conv))
    }

    /// What a reader of the file sees at least.
    pub(super) fn settled(&self, device: &Device, conv: ConvId, floor: u64) -> u64 {
        let known = self.known.get(&key(device));
        let settled = known.map_or(0, |known| at(&known.base, conv).max(at(&known.settled, conv)));
        settled.max(floor)
    }

    /// Its cursor is one of these; `floor` is that of its user.
    pub(super) fn range(&self, device: &Device, conv: ConvId, floor: u64) -> (u64, u64) {
        self.known.get(&key(device)).map_or((0, 0), |known| {
            let least = at(&known.base, conv).max(floor);
            let (sure, most) = (at(&known.sure, conv), at(&known.most, conv));
            (least.max(sure), least.max(most))
        })
    }
}
