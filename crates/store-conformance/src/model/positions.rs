//! Devices, read positions, recalls and retention in the plain model.

use std::collections::{BTreeSet, HashMap};

use mynah_store::ids::{ConvId, DeviceId, Mid, Uid};
use mynah_store::{ConvKind, Device, Members, ReadMark, Recall, Recalled, StoreError};

use super::plain::{Conv, Departure, Kept, Plain, Said};

/// Precision with which the store knows when a device was active.
const SEEN_MS: u64 = 3_600_000;
/// Time between two searches for old messages.
const LOOK_MS: u64 = 60_000;

/// A device that the store knows.
pub(super) struct Known {
    pub(super) device: Device,
    /// The number of messages when it became known.
    since: usize,
    seen: u64,
    /// What it has acknowledged.
    pub(super) cursors: HashMap<ConvId, usize>,
    /// The part of it that must survive a crash.
    sure: HashMap<ConvId, usize>,
}

/// The code of a refusal.
fn code(error: &StoreError) -> u16 {
    match error {
        StoreError::NotFound(_) => 404,
        StoreError::Forbidden(_) => 403,
        StoreError::Conflict(_) => 409,
        StoreError::TooLarge(_) => 413,
        StoreError::TooFast(_) => 429,
        StoreError::Unavailable(_) => 503,
    }
}

/// Checks that both succeed, or both fail in the same way.
fn agree<T, U>(told: Result<T, StoreError>, expected: Result<U, u16>) -> Option<(T, U)> {
    match (told, expected) {
        (Ok(told), Ok(expected)) => Some((told, expected)),
        (Err(told), Err(expected)) => {
            assert_eq!(code(&told), expected, "{told}");
            None
        }
        (told, expected) => panic!("told {:?}, expected {:?}", told.err(), expected.err()),
    }
}

impl Plain {
    pub(super) fn place(&self, uid: &Uid, device: &DeviceId) -> Option<usize> {
        self.devices
            .iter()
            .position(|known| known.device.uid == *uid && known.device.device == *device)
    }

    pub(super) fn register_device(&mut self, device: &Device) {
        if let Some(place) = self.place(&device.uid, &device.device) {
            self.settle(device);
            self.seen(place);
            return;
        }
        let others = self.devices.iter().enumerate();
        let mut others: Vec<_> = others
            .filter(|(_, known)| known.device.uid == device.uid)
            .map(|(place, known)| (known.seen, place))
            .collect();
        others.sort_unstable();
        if others.len() >= self.setup.max_devices {
            self.devices.remove(others[0].1);
        }
        self.devices.push(Known {
            device: device.clone(),
            since: self.rows.len(),
            seen: self.real,
            cursors: HashMap::new(),
            sure: HashMap::new(),
        });
    }

    /// A device is active.
    pub(super) fn seen(&mut self, place: usize) {
        let now = self.real;
        let known = &mut self.devices[place];
        if known.seen.abs_diff(now) > SEEN_MS {
            known.seen = now;
        }
    }

    /// Returns the cursor of the device in a conversation of its user.
    pub(super) fn cursor(&self, known: &Known, conv: ConvId) -> usize {
        let place = &self.convs[&conv];
        let then = place
            .messages
            .iter()
            .filter(|kept| kept.row < known.since)
            .count();
        let acked = known.cursors.get(&conv).copied().unwrap_or(then);
        let uid = &known.device.uid;
        let departure = place.departure(uid).map(|it| it.floor);
        let floor = departure.unwrap_or_else(|| place.seats[uid].floor);
        acked.max(floor).max(place.gone)
    }

    /// The same for a device that may be unknown.
    pub(super) fn cursor_of(&self, device: &Device, conv: ConvId) -> usize {
        match self.place(&device.uid, &device.device) {
            Some(place) => self.cursor(&self.devices[place], conv),
            None => self.convs[&conv].messages.len(),
        }
    }

    /// What the device has acknowledged is written.
    pub(super) fn settle(&mut self, device: &Device) {
        if let Some(place) = self.place(&device.uid, &device.device) {
            let known = &mut self.devices[place];
            known.sure = known.cursors.clone();
        }
    }

    /// Everything is written.
    pub(super) fn closed(&mut self) {
        for known in &mut self.devices {
            known.sure = known.cursors.clone();
        }
        self.started();
    }

    /// After a crash the devices have these cursors, in their order. There is no cursor in a team that the
    /// user has left and whose messages the device has.
    pub(super) fn crashed(&mut self, found: Vec<HashMap<ConvId, usize>>) {
        for (place, mut found) in found.into_iter().enumerate() {
            let known = &self.devices[place];
            for (conv, seq) in &known.cursors {
                let Some(acked) = self
                    .seen_by(&known.device.uid, *conv)
                    .then(|| self.cursor(known, *conv))
                else {
                    continue;
                };
                let found = *found.entry(*conv).or_insert(*seq);
                let what = format!("{:?} in {conv:?}", known.device);
                assert!(
                    found <= acked,
                    "{what}: {found} is beyond {acked}, which was acknowledged"
                );
                let sure = known.sure.get(conv).copied().unwrap_or_default();
                assert!(
                    found >= sure,
                    "{what}: {found} is before {sure}, which was written"
                );
            }
            found.retain(|conv, _| known.cursors.contains_key(conv));
            self.devices[place].cursors = found;
        }
        self.closed();
    }

    /// Returns whether the user is in the conversation, or has left it and is still told so.
    fn seen_by(&self, uid: &Uid, conv: ConvId) -> bool {
        let known = &self.convs[&conv];
        !known.closed && known.seats.contains_key(uid) || known.departure(uid).is_some()
    }

    /// Returns the conversation, if the user is in it.
    fn seat(&self, uid: &Uid, conv: ConvId) -> Result<&Conv, u16> {
        let known = self
            .convs
            .get(&conv)
            .filter(|known| !known.closed)
            .ok_or(403u16)?;
        known.seats.contains_key(uid).then_some(known).ok_or(403)
    }

    fn has(&mut self, device: &Device, conv: ConvId, seq: usize) {
        let Some(place) = self.place(&device.uid, &device.device) else {
            return;
        };
        self.seen(place);
        if self.cursor(&self.devices[place], conv) < seq {
            self.devices[place].cursors.insert(conv, seq);
        }
    }

    pub(super) fn ack(&mut self, device: &Device, conv: ConvId, seq: u64, told: Result<(), StoreError>) {
        let head = self
            .seat(&device.uid, conv)
            .map(|known| known.messages.len() as u64)
            .or_else(|code| self.departed(device, conv, seq).ok_or(code));
        if let Some(((), head)) = agree(told, head) {
            self.has(device, conv, seq.min(head) as usize);
        }
    }

    /// Returns the position up to which a device may acknowledge a conversation that its user has left, if it
    /// has not received everything before `seq`.
    fn departed(&self, device: &Device, conv: ConvId, seq: u64) -> Option<u64> {
        let departure = self.convs.get(&conv)?.departure(&device.uid)?;
        let known = &self.devices[self.place(&device.uid, &device.device)?];
        let head = departure.seq as u64;
        (self.cursor(known, conv) < seq.min(head) as usize).then_some(head)
    }

    pub(super) fn read(&mut self, by: &Device, conv: ConvId, seq: u64, told: Result<ReadMark, StoreError>) {
        if let Some(head) = self.departed(by, conv, seq) {
            let told = told.unwrap();
            let (to, kind) = (seq.min(head), self.convs[&conv].kind.clone());
            assert_eq!((told.seq.0, told.moved, told.kind), (to, false, kind));
            return self.has(by, conv, to as usize);
        }
        let known = self.seat(&by.uid, conv);
        let known = known.map(|known| (known.messages.len(), known.gone, known.kind.clone()));
        let Some((told, (head, gone, kind))) = agree(told, known) else {
            return;
        };
        let to = seq.min(head as u64) as usize;
        self.has(by, conv, to);
        let seat = self.convs.get_mut(&conv).unwrap().seats.get_mut(&by.uid).unwrap();
        let before = seat.read.max(gone);
        seat.read = before.max(to);
        assert_eq!((told.seq.0 as usize, told.moved), (seat.read, to > before));
        self.check_members(&kind, told.members.as_ref());
        assert_eq!(told.kind, kind);
    }

    /// Recalls a message.
    pub(super) fn recall(&mut self, order: &Recall, told: Result<Recalled, StoreError>) {
        let expected = self.may_recall(order);
        let Some((told, (conv, seq))) = agree(told, expected) else {
            return;
        };
        let known = self.convs.get_mut(&conv).unwrap();
        let taken = &mut known.messages[seq - 1].said;
        taken.recalled = true;
        taken.data = "null".to_owned();
        let kind = known.kind.clone();
        let appended = told.appended;
        assert!(appended.conv == conv && appended.push.is_none() && !appended.duplicate);
        self.check_members(&kind, appended.members.as_ref());
        assert_eq!(told.kind, kind);
        let said = Said {
            seq: appended.seq.0 as usize,
            kind: order.kind,
            from: Some(order.by.clone()),
            cid: None,
            mid: appended.mid,
            ts: appended.ts,
            data: order.data.get().to_owned(),
            recalled: false,
        };
        self.say(conv, said, false);
    }

    fn may_recall(&self, order: &Recall) -> Result<(ConvId, usize), u16> {
        let open = self.convs.iter().filter(|(_, known)| !known.closed);
        let mut left = open.flat_map(|(conv, known)| known.left().map(move |kept| (*conv, known, kept)));
        let (conv, known, kept) = left.find(|(.., kept)| kept.said.mid == order.mid).ok_or(404u16)?;
        let said = &kept.said;
        let has_left = matches!(known.kind, ConvKind::Team(_)) && !known.seats.contains_key(&order.by);
        if said.from.as_ref() != Some(&order.by) || said.kind == order.kind || has_left {
            return Err(403);
        }
        if said.recalled {
            return Err(409);
        }
        if self.age(kept) > order.window_ms {
            return Err(403);
        }
        Ok((conv, said.seq))
    }

    fn check_members(&self, kind: &ConvKind, told: Option<&Members>) {
        let expected = match kind {
            ConvKind::Team(team) => Some(&self.teams[team].1),
            ConvKind::Pair(..) | ConvKind::Notices(_) => None,
        };
        let told = told.map(|told| told.iter().cloned().collect::<BTreeSet<_>>());
        assert_eq!(told.as_ref(), expected);
    }

    /// The store has deleted its oldest messages, `through` in all. The newest one is kept.
    pub(super) fn delete_old(&mut self, through: usize) {
        let keep_ms = self.setup.keep_ms;
        let age = |(conv, seq): &(ConvId, usize)| self.real - self.convs[conv].messages[seq - 1].at;
        for (index, row) in self.rows.iter().enumerate().take(through).skip(self.deleted) {
            // Messages of a deleted team are deleted at once.
            if self.convs[&row.0].closed {
                continue;
            }
            // Messages of earlier runs age twice as fast until the last stop is made up for.
            let is_earlier = self.jumped > 0 && index < self.at_start;
            let oldest = if is_earlier { 2 * age(row) } else { age(row) };
            assert!(keep_ms > 0 && oldest >= keep_ms, "not too early");
        }
        let newest = self.rows.len().saturating_sub(1);
        // The time of the next message is the time since when a message is not the newest.
        for row in self.rows[through.min(newest)..].windows(2) {
            let in_time = age(&row[0]) <= keep_ms + LOOK_MS + self.doubt() || age(&row[1]) <= LOOK_MS;
            assert!(keep_ms == 0 || in_time, "not too late");
        }
        let mut deleted = BTreeSet::<Mid>::new();
        while self.deleted < through {
            let (conv, seq) = self.rows[self.deleted];
            let known = self.convs.get_mut(&conv).unwrap();
            let said = &known.messages[seq - 1].said;
            deleted.insert(said.mid);
            known.gone = seq;
            self.deleted += 1;
        }
        self.jobs.retain(|_, job| !deleted.contains(&job.mid));
        self.dead.retain(|mid| !deleted.contains(mid));
    }
}

impl Conv {
    /// Returns the messages that were not deleted.
    pub(super) fn left(&self) -> impl DoubleEndedIterator<Item = &Kept> {
        self.messages[self.gone..].iter()
    }

    /// Returns the user who was told by message `seq` that it has left, if the user has a device.
    pub(super) fn left_with(&self, seq: usize) -> Option<&Uid> {
        let mut departures = self.departures.iter();
        departures.find(|(_, it)| it.seq == seq).map(|(uid, _)| uid)
    }

    /// Returns what a user who has left may still receive. In a closed conversation it is only the kind 17.
    pub(super) fn departure(&self, uid: &Uid) -> Option<Departure> {
        let departure = self.departures.get(uid).filter(|it| it.seq > self.gone)?;
        Some(Departure {
            floor: if self.closed {
                departure.seq - 1
            } else {
                departure.floor
            },
            ..*departure
        })
    }

    /// Returns the messages after `after` that were not deleted.
    pub(super) fn shown(&self, after: usize) -> Vec<Said> {
        self.left()
            .filter(|kept| kept.said.seq > after)
            .map(|kept| kept.said.clone())
            .collect()
    }

    pub(super) fn unread(&self, uid: &Uid) -> u64 {
        let read = self.seats[uid].read;
        self.left()
            .filter(|kept| kept.said.seq > read)
            .filter(|kept| kept.counts && !kept.said.recalled && kept.said.from.as_ref() != Some(uid))
            .count() as u64
    }
}
