//! Finds the message to which a sender's `cid` belongs, to recognise repeated sends.
//!
//! The table `cids` is ordered by conversation, so that writing a row at once would touch a page for nearly
//! every message. The newest cids are therefore kept in memory, and moved to the table sorted, many for each
//! conversation, a few with each transaction. After a restart they are read again from the messages after
//! [`THROUGH`]. Invariants: every message with a cid is in `fresh`, in `moving`, or in the table; the table
//! refers to no message that retention has deleted; the number of messages after [`THROUGH`] is limited,
//! whether they have cids or not.

use std::collections::{BTreeMap, HashMap};

use mynah_store::ids::{Cid, ConvId, Uid};
use mynah_store::{Appended, UnixMillis};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::columns::Columns;
use super::meta;

/// The key in `meta` of the newest `messages.id` up to which all cids are in the table.
const THROUGH: &str = "cids_through";
/// Number of cids that a transaction moves for each message that it adds. It is more than one, so that moving
/// ends before `fresh` is full again.
const PACE: usize = 2;
/// Number of messages after [`THROUGH`] that begin a move, as a multiple of the capacity of `fresh`.
const SPARSE: usize = 4;

/// The row number of a conversation, and the hash of sender and cid.
pub(super) type Key = (i64, i64);

/// The cids in memory.
pub(super) struct Cids {
    /// The newest cids, with the row numbers of their messages.
    fresh: HashMap<Key, i64>,
    /// Cids that are not in the table yet and are being moved there, in its order.
    moving: BTreeMap<Key, i64>,
    /// The newest row that `moving` covers.
    moving_through: i64,
    /// The newest row up to which all cids are in the table. While cids are moved it is less than
    /// `moving_through`.
    through: i64,
    /// The newest row after the last transaction.
    newest: i64,
    /// Size of `fresh` that begins a move.
    capacity: usize,
}

/// The cid of a message, with its sender and conversation.
pub(super) struct Sent<'a> {
    pub(super) key: Key,
    from: Option<&'a Uid>,
    cid: &'a Cid,
}

impl<'a> Sent<'a> {
    pub(super) fn new(conv_id: i64, from: Option<&'a Uid>, cid: &'a Cid) -> Self {
        let key = (conv_id, hash(from.map(Uid::as_str), cid.as_str()));
        Self { key, from, cid }
    }
}

impl Cids {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            fresh: HashMap::new(),
            moving: BTreeMap::new(),
            moving_through: 0,
            through: 0,
            newest: 0,
            capacity,
        }
    }

    /// Starts from the state of the database, whatever was in memory before.
    pub(super) fn reload(&mut self, db: &Connection) -> rusqlite::Result<()> {
        *self = Self::new(self.capacity);
        let through = meta::get(db, THROUGH)?
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        (self.moving_through, self.through) = (through, through);
        self.newest = db.query_row("SELECT coalesce(max(id), 0) FROM messages", [], |row| row.get(0))?;
        let mut select = db.prepare(
            "SELECT id, conv_id, sender, cid FROM messages WHERE id > ?1 AND cid IS NOT NULL ORDER BY id",
        )?;
        let mut rows = select.query([through])?;
        while let Some(row) = rows.next()? {
            let sender = row.get_ref(2)?.as_str_or_null()?;
            let hash = hash(sender, row.get_ref(3)?.as_str()?);
            self.fresh.insert((row.get(1)?, hash), row.get(0)?);
        }
        Ok(())
    }

    /// Returns the message that `from` has sent with this cid to conversation `conv`, if its row and time are
    /// recent, as the result of sending it again.
    pub(super) fn find(
        &self,
        db: &Connection,
        conv: ConvId,
        sent: &Sent<'_>,
        is_recent: impl FnOnce(i64, UnixMillis) -> bool,
    ) -> rusqlite::Result<Option<Appended>> {
        let known = self
            .fresh
            .get(&sent.key)
            .or_else(|| self.moving.get(&sent.key))
            .copied();
        let row = match known {
            Some(row) => Some(row),
            None => db
                .prepare_cached("SELECT message FROM cids WHERE conv_id = ?1 AND hash = ?2")?
                .query_row(params![sent.key.0, sent.key.1], |row| row.get(0))
                .optional()?,
        };
        let Some(found) = row else { return Ok(None) };
        let mut select = db.prepare_cached("SELECT seq, mid, ts, sender, cid FROM messages WHERE id = ?1")?;
        let mut rows = select.query([found])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let ts = row.get(2)?;
        let same = row.get_ref(3)?.as_str_or_null()? == sent.from.map(Uid::as_str)
            && row.get_ref(4)?.as_str_or_null()? == Some(sent.cid.as_str());
        if !same || !is_recent(found, ts) {
            return Ok(None);
        }
        Ok(Some(Appended {
            conv,
            seq: row.seq(0)?,
            mid: row.mid(1)?,
            ts,
            duplicate: true,
            members: None,
            push: None,
            numbers: None,
        }))
    }

    /// A message with a cid was written. It replaces an older one with the same cid.
    pub(super) fn remember(&mut self, key: Key, row: i64) {
        self.fresh.insert(key, row);
    }

    /// Moves a part into the table. `newest` is the row of the newest message.
    pub(super) fn move_some(&mut self, db: &Connection, newest: i64) -> rusqlite::Result<()> {
        let added = usize::try_from(newest - self.newest).unwrap_or(0);
        self.newest = newest;
        if added == 0 {
            return Ok(());
        }
        let mut share = added * PACE;
        if self.moving_through == self.through {
            let behind = usize::try_from(newest - self.through).unwrap_or(0);
            if self.fresh.len() < self.capacity && behind < self.capacity * SPARSE {
                return Ok(());
            }
            if self.fresh.len() >= self.capacity * 2 || behind >= self.capacity * SPARSE * 2 {
                // The process was restarted before a move had ended, perhaps many times.
                share = usize::MAX;
            }
            self.moving = std::mem::take(&mut self.fresh).into_iter().collect();
            self.moving_through = newest;
        }
        // Retention may have deleted some messages in the meantime.
        let oldest: i64 = db
            .prepare_cached("SELECT coalesce(min(id), 0) FROM messages")?
            .query_row([], |row| row.get(0))?;
        let mut insert =
            db.prepare_cached("INSERT OR REPLACE INTO cids (conv_id, hash, message) VALUES (?1, ?2, ?3)")?;
        let moved = std::iter::from_fn(|| self.moving.pop_first()).take(share);
        for (key, row) in moved.filter(|(_, row)| *row >= oldest) {
            insert.execute(params![key.0, key.1, row])?;
        }
        if self.moving.is_empty() {
            self.through = self.moving_through;
            meta::put(db, THROUGH, &self.through.to_string())?;
        }
        Ok(())
    }
}

/// Forgets a message that is deleted. If it is not in the table yet, it will not be inserted.
pub(super) fn forget(
    db: &Connection,
    conv_id: i64,
    sender: Option<&str>,
    cid: &str,
    row: i64,
) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM cids WHERE conv_id = ?1 AND hash = ?2 AND message = ?3")?
        .execute(params![conv_id, hash(sender, cid), row])?;
    Ok(())
}

/// The hash is SHA-256, so that nobody can create many cids with the same hash.
fn hash(from: Option<&str>, cid: &str) -> i64 {
    let from = from.unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update([from.len() as u8]);
    hash.update(from);
    hash.update(cid);
    let hash = hash.finalize();
    hash.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}
