//! Devices and their cursors, as the writer knows them.
//!
//! A device's cursor in a conversation is the highest of these: what it has acknowledged (`cursors`), or the
//! head when the device became known if it has acknowledged nothing; the floor of its user; and the last
//! message that retention has deleted. Acknowledgements are collected in memory and written in batches: if a
//! crash loses one, the messages are only replayed. Invariants: a cursor in the database never moves
//! backwards, and is never beyond a head in the database.

use std::collections::BTreeMap;

use mynah_store::ids::{DeviceId, Uid};
use mynah_store::{Device, DeviceRegister, UnixMillis};
use rusqlite::{Connection, OptionalExtension, params};

use super::cache::Generations;

/// Number of devices, and of cursors, that are remembered beyond the transaction that used them.
const REMEMBERED: usize = 131_072;
/// The maximum number of cursors that wait to be written.
const MOST_WAITING: usize = 4_096;
/// How long a cursor waits to be written, in milliseconds.
pub(super) const WAIT_MS: u64 = 1_000;
/// Precision of the time when a device was last active, in milliseconds.
const SEEN_MS: u64 = 3_600_000;

/// A device that the store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: i64,
    /// The newest `messages.id` when the device became known.
    pub(super) since_row: i64,
    /// The device has everything in pairs and notices up to this `messages.id`, which never decreases.
    pub(super) had_row: i64,
    /// The approximate time when the device was last active.
    seen: UnixMillis,
}

/// The state of a conversation at one moment, as far as cursors depend on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) conv_id: i64,
    pub(super) head: u64,
    /// `messages.id` of the head.
    pub(super) last_row: i64,
}

/// The devices and cursors in memory.
pub(super) struct Devices {
    /// The limit for devices of a user.
    most: usize,
    known: Generations<Device, Known>,
    /// The cursors, by device and conversation.
    cursors: Generations<(i64, i64), u64>,
    /// The cursors that are not in the database yet, in the order of the table.
    waiting: BTreeMap<(i64, i64), u64>,
    /// When the oldest of them was added.
    since: UnixMillis,
}

impl Devices {
    /// Remembers at most this many devices of a user.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            known: Generations::new(REMEMBERED),
            cursors: Generations::new(REMEMBERED),
            waiting: BTreeMap::new(),
            since: 0,
        }
    }

    /// Returns the device, if it is known.
    pub(super) fn find(&mut self, db: &Connection, device: &Device) -> rusqlite::Result<Option<Known>> {
        if let Some(known) = self.known.get_mut(device, |_| 1) {
            return Ok(Some(*known));
        }
        let found = load(db, &device.uid, &device.device)?;
        if let Some(known) = found {
            self.known.insert(device.clone(), known, 1);
        }
        Ok(found)
    }

    /// Makes a device known, so that its cursors begin after `newest_row`. If it is known already, writes
    /// what it has acknowledged.
    pub(super) fn register_device(
        &mut self,
        db: &Connection,
        DeviceRegister { device, named, .. }: &DeviceRegister,
        now: UnixMillis,
        newest_row: i64,
    ) -> rusqlite::Result<()> {
        if let Some(known) = self.use_of(db, now, device)? {
            db.prepare_cached("UPDATE devices SET named = 1 WHERE id = ?1 AND named < ?2")?
                .execute(params![known.id, named])?;
            return self.settle(db, known.id);
        }
        db.prepare_cached(
            "INSERT INTO devices (uid, device, since_row, seen, named, had_row) VALUES (?1, ?2, ?3, ?4, ?5, ?3)",
        )?
        .execute(params![
            device.uid.as_str(),
            device.device.as_str(),
            newest_row,
            now,
            named,
        ])?;
        let id = db.last_insert_rowid();
        let known = Known {
            id,
            since_row: newest_row,
            had_row: newest_row,
            seen: now,
        };
        self.known.insert(device.clone(), known, 1);
        self.forget_oldest(db, &device.uid, id)
    }

    /// Returns the device, if it is known, and records that it is active.
    pub(super) fn use_of(
        &mut self,
        db: &Connection,
        now: UnixMillis,
        device: &Device,
    ) -> rusqlite::Result<Option<Known>> {
        let found = self.find(db, device)?;
        if let Some(known) = found
            && now.abs_diff(known.seen) > SEEN_MS
        {
            db.prepare_cached("UPDATE devices SET seen = ?2 WHERE id = ?1")?
                .execute(params![known.id, now])?;
            let known = Known { seen: now, ..known };
            self.known.insert(device.clone(), known, 1);
        }
        Ok(found)
    }

    /// Records that the device, if it is known, has everything in pairs and notices up to `row`.
    pub(super) fn had(&mut self, db: &Connection, device: &Device, row: i64) -> rusqlite::Result<()> {
        let Some(known) = self.find(db, device)?.filter(|known| known.had_row < row) else {
            return Ok(());
        };
        db.prepare_cached("UPDATE devices SET had_row = ?2 WHERE id = ?1")?
            .execute([known.id, row])?;
        let known = Known {
            had_row: row,
            ..known
        };
        self.known.insert(device.clone(), known, 1);
        Ok(())
    }

    /// Forgets the devices of a user that were inactive for the longest time, down to the limit but not
    /// `newest`. Those whose `deviceid` was not chosen by the client come first.
    fn forget_oldest(&mut self, db: &Connection, uid: &Uid, newest: i64) -> rusqlite::Result<()> {
        let count: i64 = db
            .prepare_cached("SELECT count(*) FROM devices WHERE uid = ?1")?
            .query_row([uid.as_str()], |row| row.get(0))?;
        let surplus = count - i64::try_from(self.most.max(1)).unwrap_or(i64::MAX);
        if surplus <= 0 {
            return Ok(());
        }
        let mut select = db.prepare_cached(
            "SELECT id, device FROM devices WHERE uid = ?1 AND id <> ?2 ORDER BY named, seen, id LIMIT ?3",
        )?;
        let oldest = select
            .query_map(params![uid.as_str(), newest, surplus], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
        for (id, name) in oldest {
            db.prepare_cached("DELETE FROM cursors WHERE device_id = ?1")?
                .execute([id])?;
            db.prepare_cached("DELETE FROM devices WHERE id = ?1")?
                .execute([id])?;
            self.waiting.retain(|(device, _), _| *device != id);
            if let Ok(device) = DeviceId::new(&name) {
                let uid = uid.clone();
                self.known.remove(&Device { uid, device });
            }
        }
        Ok(())
    }

    /// Returns the cursor of a device in a conversation. `floor` returns the floor of its user, which
    /// increases when the user leaves and joins again and when retention deletes messages. It is called
    /// unless the device has everything anyway.
    pub(super) fn cursor(
        &mut self,
        db: &Connection,
        device: Known,
        at: At,
        floor: impl FnOnce() -> rusqlite::Result<u64>,
    ) -> rusqlite::Result<u64> {
        let key = (device.id, at.conv_id);
        let waiting = self.waiting.get(&key).copied();
        if let Some(cursor) = waiting.or_else(|| self.cursors.get_mut(&key, |_| 1).copied()) {
            return if cursor < at.head {
                Ok(cursor.max(floor()?))
            } else {
                Ok(cursor)
            };
        }
        let stored = db
            .prepare_cached("SELECT seq FROM cursors WHERE device_id = ?1 AND conv_id = ?2")?
            .query_row([device.id, at.conv_id], |row| row.get(0))
            .optional()?;
        let cursor = match stored {
            Some(seq) => seq,
            None => head_then(db, at, device.since_row)?,
        };
        let cursor = cursor.max(floor()?);
        self.cursors.insert(key, cursor, 1);
        Ok(cursor)
    }

    /// Moves a cursor forward, in memory.
    pub(super) fn advance(&mut self, now: UnixMillis, device: Known, conv_id: i64, seq: u64) {
        if self.waiting.is_empty() {
            self.since = now;
        }
        self.cursors.insert((device.id, conv_id), seq, 1);
        self.waiting.insert((device.id, conv_id), seq);
    }

    /// Writes the cursors of one device that wait.
    pub(super) fn settle(&mut self, db: &Connection, device: i64) -> rusqlite::Result<()> {
        let of_device = self.waiting.range((device, i64::MIN)..=(device, i64::MAX));
        let of_device: BTreeMap<_, _> = of_device.map(|(key, seq)| (*key, *seq)).collect();
        for key in of_device.keys() {
            self.waiting.remove(key);
        }
        write(db, of_device)
    }

    /// Returns whether any cursor waits to be written.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes all cursors that wait, if there are many, they have waited long enough, or `all` is set.
    pub(super) fn flush(&mut self, db: &Connection, now: UnixMillis, all: bool) -> rusqlite::Result<()> {
        if all || self.waiting.len() >= MOST_WAITING || now.abs_diff(self.since) >= WAIT_MS {
            write(db, std::mem::take(&mut self.waiting))?;
        }
        Ok(())
    }

    /// Called after a commit: drops what was not used recently.
    pub(super) fn trim(&mut self) {
        self.known.trim();
        self.cursors.trim();
    }

    /// Called after a failed transaction. It may have added cursors that are wrong; those from before it are
    /// lost, so that messages are replayed once more.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.most);
    }
}

fn write(db: &Connection, cursors: BTreeMap<(i64, i64), u64>) -> rusqlite::Result<()> {
    if cursors.is_empty() {
        return Ok(());
    }
    let mut upsert = db.prepare_cached(
        "INSERT INTO cursors (device_id, conv_id, seq) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)",
    )?;
    for ((device, conv), seq) in cursors {
        upsert.execute(params![device, conv, seq])?;
    }
    Ok(())
}

/// Reads a device from the database.
pub(super) fn load(db: &Connection, uid: &Uid, device: &DeviceId) -> rusqlite::Result<Option<Known>> {
    db.prepare_cached("SELECT id, since_row, seen, had_row FROM devices WHERE uid = ?1 AND device = ?2")?
        .query_row([uid.as_str(), device.as_str()], |row| {
            Ok(Known {
                id: row.get(0)?,
                since_row: row.get(1)?,
                seen: row.get(2)?,
                had_row: row.get(3)?,
            })
        })
        .optional()
}

/// Returns the head that a conversation had when `row` was the newest row of the store. Row numbers ascend
/// with `seq`, so a binary search finds it.
pub(super) fn head_then(db: &Connection, at: At, row: i64) -> rusqlite::Result<u64> {
    if at.last_row <= row {
        return Ok(at.head);
    }
    let mut select = db.prepare_cached("SELECT id FROM messages WHERE conv_id = ?1 AND seq = ?2")?;
    // The head at that time is at least `low` and less than `high`.
    let (mut low, mut high) = (0, at.head);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let id: Option<i64> = select
            .query_row(params![at.conv_id, middle], |row| row.get(0))
            .optional()?;
        // A message that retention has deleted is older than `row`.
        if id.is_none_or(|id| id <= row) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
