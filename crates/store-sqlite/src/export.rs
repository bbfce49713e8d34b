//! Reads a whole store, for a copy into another one (`mynah migrate`).
//!
//! Invariant: while this exists, the directory is locked, so that nothing changes in the store.

use std::path::Path;

use anyhow::{Context, bail};
use mynah_store::Durability;
use mynah_store::transfer::{Row, Table, Times};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use uuid::Uuid;

use super::age;
use super::open::{self, DataDirectory};

/// See the module.
pub struct Export {
    place: DataDirectory,
    db: Connection,
}

/// The rows of a table, with the columns of `transfer.rs`. Messages after the id `?1`.
fn select(table: Table) -> Option<&'static str> {
    Some(match table.name {
        "conversations" => {
            "SELECT conv, kind, a, b, team, head, last_row, ts, counted, sent_a, sent_b, unread_a, unread_b,
                 recalls, iif(closed, 't', 'f'), gone, gone_counted, gone_a, gone_b
             FROM conversations WHERE id > ?1 ORDER BY id"
        }
        "participants" => {
            "SELECT p.uid, c.conv, iif(p.member, 't', 'f'), p.floor, p.joined, p.sent, p.read, p.read_counted,
                 p.read_sent
             FROM participants p CROSS JOIN conversations c ON c.id = p.conv_id WHERE c.id > ?1"
        }
        "teams" => {
            "SELECT t.team, t.name, c.conv FROM teams t CROSS JOIN conversations c ON c.id = t.conv_id
             WHERE c.id > ?1"
        }
        "recalls" => {
            "SELECT c.conv, r.seq, r.sender FROM recalls r CROSS JOIN conversations c ON c.id = r.conv_id
             WHERE c.id > ?1"
        }
        "departures" => {
            "SELECT x.uid, c.conv, x.seq, x.message, x.floor, x.head
             FROM departures x CROSS JOIN conversations c ON c.id = x.conv_id WHERE c.id > ?1"
        }
        "devices" => {
            "SELECT id, uid, device, since_row, had_row, seen, iif(named, 't', 'f') FROM devices WHERE id > ?1"
        }
        "cursors" => {
            "SELECT k.device_id, c.conv, k.seq FROM cursors k CROSS JOIN conversations c ON c.id = k.conv_id
             WHERE c.id > ?1"
        }
        "push_jobs" => {
            "SELECT j.id, c.conv, m.seq, j.uid, j.after, iif(j.conv_id IS NULL, 'f', 't'), j.lane, j.attempts,
                 j.made, j.due, j.expires, iif(j.dead, 't', 'f')
             FROM push_jobs j CROSS JOIN messages m ON m.id = j.message
                 CROSS JOIN conversations c ON c.id = m.conv_id WHERE j.id > ?1"
        }
        "revocations" => {
            "SELECT uid, device, token, issued, forget, displaced FROM revocations WHERE ?1 = 0"
        }
        "marks" => "SELECT row, at FROM ages WHERE ?1 = 0",
        "settings" => "SELECT name, version, value FROM settings WHERE ?1 = 0",
        "messages" => {
            "SELECT c.conv, m.seq, m.id, m.mid, m.kind, m.ts, iif(m.counts, 't', 'f'), iif(m.recalled, 't', 'f'),
                 m.sender, m.cid, m.counted, m.own, m.member_sent, m.data
             FROM messages m CROSS JOIN conversations c ON c.id = m.conv_id WHERE m.id > ?1 ORDER BY m.id"
        }
        _ => return None,
    })
}

/// The messages in the order of conversation and seq.
const IN_ORDER: &str = "SELECT c.conv, m.seq, m.id, m.mid, m.kind, m.ts, iif(m.counts, 't', 'f'),
         iif(m.recalled, 't', 'f'), m.sender, m.cid, m.counted, m.own, m.member_sent, m.data
     FROM conversations c CROSS JOIN messages m ON m.conv_id = c.id WHERE ?1 = 0 ORDER BY c.conv, m.seq";

impl Export {
    /// Opens the store of a directory, which must exist, and whose server must be stopped.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        if !directory.join(open::FILE).is_file() {
            bail!("there is no store in {}", directory.display());
        }
        let place = DataDirectory::open_moved(directory, Durability::Power)?;
        let db = place.reader().map_err(|error| place.explain(error))?;
        Ok(Self { place, db })
    }

    /// Returns the epoch of the history.
    pub fn epoch(&self) -> &str {
        self.place.epoch()
    }

    /// Returns the times when the store was last written; `None` if it was never written.
    pub fn times(&self) -> anyhow::Result<Option<Times>> {
        Ok(age::times(&self.db)?)
    }

    /// Returns the number of rows of a table.
    pub fn count(&self, table: Table) -> anyhow::Result<u64> {
        let select = select(table).with_context(|| format!("no such table: {}", table.name))?;
        let sql = format!("SELECT count(*) FROM ({select})");
        Ok(self.db.query_row(&sql, [0], |row| row.get(0))?)
    }

    /// Passes the rows of a table to `each`: of messages those with an id greater than `after`, of other
    /// tables all.
    pub fn rows(
        &self,
        table: Table,
        after: i64,
        each: impl FnMut(Row) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let select = select(table).with_context(|| format!("no such table: {}", table.name))?;
        self.read(select, after, each)
    }

    /// Passes all messages to `each`, in the order of conversation and seq.
    pub fn messages_in_order(&self, each: impl FnMut(Row) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.read(IN_ORDER, 0, each)
    }

    fn read(
        &self,
        sql: &str,
        after: i64,
        mut each: impl FnMut(Row) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut statement = self.db.prepare(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([after])?;
        while let Some(row) = rows.next()? {
            let values = (0..columns).map(|column| text(row.get_ref(column)?));
            each(values.collect::<anyhow::Result<_>>()?)?;
        }
        Ok(())
    }

    /// Marks the store, so that no server starts with it by mistake.
    pub fn mark_moved(self) -> anyhow::Result<()> {
        Ok(self.place.mark_moved()?)
    }
}

fn text(value: ValueRef<'_>) -> anyhow::Result<Option<String>> {
    Ok(match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Text(text) => Some(str::from_utf8(text)?.to_owned()),
        ValueRef::Blob(id) => Some(Uuid::from_slice(id)?.to_string()),
        ValueRef::Real(_) => bail!("a number with a fraction in the database"),
    })
}
