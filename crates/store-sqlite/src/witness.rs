//! The witness: a small file beside the database that records the newest state of the database in this
//! directory.
//!
//! An older copy of the database that is put in place is a valid database, but it would use numbers again
//! that other messages have had since then. The witness reveals such a copy: its [`Record`] contains the
//! epoch of the database, its newest row, and which file it was. [`super::epoch`] compares the two.
//!
//! Invariants: the record is never ahead of what is committed, because it is written after the commit
//! (`committed`), without waiting for the disk. After a crash it may be behind the database, which is not
//! mistaken for an older copy. It is overwritten in place, so that a full disk does not matter, in two
//! alternating slots, so that one of them is complete even if the power fails during a write.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use mynah_store::private;
use parking_lot::Mutex;

/// The name of the file in the data directory.
pub(super) const FILE: &str = "mynah.witness";
/// The offset of the second slot, which is on a page of its own.
const SECOND: u64 = 4_096;
/// The length of a slot.
const SLOT: usize = 224;
/// The beginning of a slot; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"mynahwi\x01";
/// Bytes that are reserved for an epoch or a boot id, including their length.
const TEXT: usize = 64;

/// A state of the history. Both numbers only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HistoryState {
    /// The newest `messages.id`.
    pub(super) row: i64,
    /// The number of transactions that changed something without writing a message.
    pub(super) changes: i64,
}

impl HistoryState {
    /// Whether a store in this state contains everything that one in `other` contained.
    pub(super) fn has_reached(self, other: Self) -> bool {
        self.row >= other.row && self.changes >= other.changes
    }
}

/// Identifies a file independently of its name: a copy is another file, a renamed file is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Identity {
    inode: u64,
    /// The time of creation in nanoseconds since 1970, because inode numbers are reused; 0 if the file system
    /// does not store it.
    born: u64,
}

impl Identity {
    pub(super) fn of(file: &Metadata) -> Self {
        let born = file.created().ok().map(nanoseconds).unwrap_or_default();
        Self {
            inode: file.ino(),
            born,
        }
    }

    pub(super) fn is(self, other: Self) -> bool {
        self.inode == other.inode && (self.born == other.born || self.born == 0 || other.born == 0)
    }
}

/// When a file was last written, and its length then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    modified: u64,
    bytes: u64,
}

impl Stamp {
    pub(super) fn of(file: &Metadata) -> Self {
        Self {
            modified: file.modified().ok().map(nanoseconds).unwrap_or_default(),
            bytes: file.len(),
        }
    }
}

fn nanoseconds(time: std::time::SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The content of the witness.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Record {
    /// The slot with the higher number is valid.
    pub(super) serial: u64,
    pub(super) epoch: String,
    pub(super) history: HistoryState,
    /// Which file the database is.
    pub(super) database: Identity,
    /// The witness itself, to distinguish a copy of the whole directory from a copy of the database alone.
    pub(super) itself: Identity,
    /// The kernel's id of this run of the machine; empty if it has none.
    pub(super) boot: String,
    /// Whether answered messages may be lost in a power failure (`store.durability = "process"`).
    pub(super) may_lose: bool,
    /// Whether the store was closed in order: everything is in the database, and synced.
    pub(super) closed: bool,
    /// The state of the database after the WAL was last moved into it; `None` while it is being moved.
    pub(super) stamp: Option<Stamp>,
}

impl Record {
    fn encode(&self) -> [u8; SLOT] {
        let stamp = self.stamp.unwrap_or_default();
        let flags =
            u64::from(self.may_lose) | u64::from(self.closed) << 1 | u64::from(self.stamp.is_some()) << 2;
        let numbers = [
            self.serial,
            self.history.row as u64,
            self.history.changes as u64,
            self.database.inode,
            self.database.born,
            self.itself.inode,
            self.itself.born,
            stamp.modified,
            stamp.bytes,
            flags,
        ];
        let mut slot = [0; SLOT];
        slot[..8].copy_from_slice(&MAGIC);
        for (bytes, number) in slot[8..88].as_chunks_mut().0.iter_mut().zip(numbers) {
            *bytes = number.to_le_bytes();
        }
        for (at, text) in [(88, &self.epoch), (88 + TEXT, &self.boot)] {
            let text = &text.as_bytes()[..text.len().min(TEXT - 1)];
            slot[at] = text.len() as u8;
            slot[at + 1..at + 1 + text.len()].copy_from_slice(text);
        }
        let sum = checksum(&slot[..SLOT - 8]);
        slot[SLOT - 8..].copy_from_slice(&sum.to_le_bytes());
        slot
    }

    fn decode(slot: &[u8; SLOT]) -> Option<Self> {
        let (content, sum) = slot.split_at(SLOT - 8);
        if slot[..8] != MAGIC || checksum(content).to_le_bytes() != sum {
            return None;
        }
        let mut numbers = [0; 10];
        for (number, bytes) in numbers.iter_mut().zip(slot[8..88].as_chunks().0) {
            *number = u64::from_le_bytes(*bytes);
        }
        let text = |at: usize| {
            let length = usize::from(slot[at]).min(TEXT - 1);
            String::from_utf8_lossy(&slot[at + 1..at + 1 + length]).into_owned()
        };
        let [
            serial,
            row,
            changes,
            inode,
            born,
            own_inode,
            own_born,
            modified,
            bytes,
            flags,
        ] = numbers;
        Some(Self {
            serial,
            epoch: text(88),
            history: HistoryState {
                row: row as i64,
                changes: changes as i64,
            },
            database: Identity { inode, born },
            itself: Identity {
                inode: own_inode,
                born: own_born,
            },
            boot: text(88 + TEXT),
            may_lose: flags & 1 != 0,
            closed: flags & 2 != 0,
            stamp: (flags & 4 != 0).then_some(Stamp { modified, bytes }),
        })
    }
}

/// FNV-1a: detects a slot that was written only partly.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The file, and its content.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    record: Mutex<Record>,
    /// Whether writing has failed, which is logged only once.
    failed: AtomicBool,
}

impl Witness {
    /// Opens the file, creates it if it does not exist, and reads it. The record is `None` if no slot is
    /// valid.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Record>)> {
        let file = private::open(path)?;
        let mut found: Option<Record> = None;
        for at in [0, SECOND] {
            let mut slot = [0; SLOT];
            match file.read_exact_at(&mut slot, at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(error),
            }
            let record = Record::decode(&slot);
            found = found.into_iter().chain(record).max_by_key(|record| record.serial);
        }
        let witness = Self {
            file,
            record: Mutex::new(found.clone().unwrap_or_default()),
            failed: AtomicBool::new(false),
        };
        Ok((witness, found))
    }

    /// Returns which file the witness itself is.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::of(&self.file.metadata()?))
    }

    /// Called when the store starts to work: before this returns, both slots are written and synced.
    pub(super) fn begin(&self, record: Record) -> io::Result<()> {
        let mut present = self.record.lock();
        let serial = present.serial;
        *present = record;
        for step in 1..=2 {
            present.serial = serial + step;
            self.put(&present)?;
            self.file.sync_all()?;
        }
        Ok(())
    }

    /// Called after a commit.
    pub(super) fn committed(&self, history: HistoryState) {
        if self.record.lock().history != history {
            self.change(|record| record.history = history);
        }
    }

    /// Called before (`None`) and after (`Some`) the WAL is moved into the database.
    pub(super) fn stamp(&self, stamp: Option<Stamp>) {
        self.change(|record| record.stamp = stamp);
    }

    /// Called when the store was closed in order.
    pub(super) fn closed(&self) -> io::Result<()> {
        self.change(|record| record.closed = true);
        self.file.sync_all()
    }

    /// Changes the record and syncs it. If that fails an older record remains, which can only mean that an
    /// older copy is not noticed later.
    fn change(&self, change: impl FnOnce(&mut Record)) {
        let mut record = self.record.lock();
        change(&mut record);
        record.serial += 1;
        if let Err(error) = self.put(&record)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "{FILE} cannot be written: an older copy of the store may not be noticed");
        }
    }

    fn put(&self, record: &Record) -> io::Result<()> {
        let at = if record.serial.is_multiple_of(2) {
            0
        } else {
            SECOND
        };
        self.file.write_all_at(&record.encode(), at)
    }
}

/// Returns the kernel's id of this run of the machine; empty if it has none.
pub(super) fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            epoch: "01a2".into(),
            history: HistoryState { row: 7, changes: 3 },
            boot: "b".into(),
            may_lose: true,
            stamp: Some(Stamp {
                modified: 5,
                bytes: 4_096,
            }),
            ..Record::default()
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let (witness, found) = Witness::open(&path).unwrap();
        assert_eq!(found, None);
        witness.begin(record()).unwrap();
        for row in 8..12 {
            witness.committed(HistoryState { row, changes: 3 });
            let found = Witness::open(&path).unwrap().1.unwrap();
            assert_eq!(
                (found.history.row, found.epoch.as_str(), found.boot.as_str()),
                (row, "01a2", "b")
            );
            assert!(found.may_lose && !found.closed && found.stamp == record().stamp);
        }
        witness.closed().unwrap();
        assert!(Witness::open(&path).unwrap().1.unwrap().closed);
    }

    #[test]
    fn an_incomplete_slot_leaves_the_other_one_valid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let witness = Witness::open(&path).unwrap().0;
        witness.begin(record()).unwrap();
        for row in [8, 9] {
            witness.committed(HistoryState { row, changes: 3 });
        }
        let newest = witness.record.lock().serial;
        let at = if newest.is_multiple_of(2) { 0 } else { SECOND };
        witness.file.write_all_at(&[0x5a; 100], at + 100).unwrap();
        assert_eq!(Witness::open(&path).unwrap().1.unwrap().history.row, 8);
        witness.file.write_all_at(&[0x5a; 9_000], 0).unwrap();
        assert_eq!(Witness::open(&path).unwrap().1, None);
    }
}
