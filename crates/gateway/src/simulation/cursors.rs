//! The possible cursors of devices, according to the store's responses. A cursor is never beyond what was
//! acknowledged, and never before the position at which the device began. It is exact until a server crashes,
//! because a crash may lose the newest acknowledgements.

use std::collections::BTreeMap;

use crate::ids::{ConvId, DeviceId, Uid};
use crate::store::Device;

type Cursors = BTreeMap<ConvId, u64>;

/// A device that the store knows.
#[derive(Debug, Default)]
struct Known {
    /// The heads when the device became known.
    base: Cursors,
    /// What was acknowledged since the last crash, and ever.
    sure: Cursors,
    most: Cursors,
    /// What was acknowledged since the last crash and before the device last registered.
    settled: Cursors,
}

/// All known devices.
#[derive(Default)]
pub(super) struct Devices {
    known: BTreeMap<(Uid, DeviceId), Known>,
    /// Number of times that acknowledgements were lost.
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
    /// A device registers. Unless it is known, its cursors begin at the heads.
    pub(super) fn entered(&mut self, device: &Device, heads: impl FnOnce() -> Cursors) {
        let known = self.known.entry(key(device)).or_insert_with(|| Known {
            base: heads(),
            ..Known::default()
        });
        known.settled = known.sure.clone();
    }

    /// The device acknowledges everything up to `seq`.
    pub(super) fn acked(&mut self, device: &Device, conv: ConvId, seq: u64) {
        if let Some(known) = self.known.get_mut(&key(device)) {
            raise(&mut known.sure, conv, seq);
            raise(&mut known.most, conv, seq);
        }
    }

    /// The device has sent message `seq`. This acknowledges the message if the device has everything before
    /// it.
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

    /// Returns where the device's cursor began.
    pub(super) fn base(&self, device: &Device, conv: ConvId) -> u64 {
        self.known
            .get(&key(device))
            .map_or(0, |known| at(&known.base, conv))
    }

    /// Returns the lowest cursor that a reader of the file can see.
    pub(super) fn settled(&self, device: &Device, conv: ConvId, floor: u64) -> u64 {
        let known = self.known.get(&key(device));
        let settled = known.map_or(0, |known| at(&known.base, conv).max(at(&known.settled, conv)));
        settled.max(floor)
    }

    /// Returns the lowest and the highest possible cursor; `floor` is the floor of the user.
    pub(super) fn range(&self, device: &Device, conv: ConvId, floor: u64) -> (u64, u64) {
        self.known.get(&key(device)).map_or((0, 0), |known| {
            let least = at(&known.base, conv).max(floor);
            let (sure, most) = (at(&known.sure, conv), at(&known.most, conv));
            (least.max(sure), least.max(most))
        })
    }
}
