//! Decides whether a store still holds the history that clients know, and gives it a new epoch if it does
//! not.
//!
//! Clients keep positions, which are valid in one history only. If the store that is opened is older than the
//! newest state that its directory has had, or was copied there, it gets a new epoch. Invariant: after a
//! crash of the process, and after a power failure with `durability = "power"`, the epoch does not change.

use rusqlite::Connection;

use super::meta;
use super::recount::recount;
use super::witness::{HistoryState, Identity, Record};

/// The key in `meta` of the epoch.
const EPOCH: &str = "epoch";
/// The key in `meta` of [`HistoryState::changes`]. A store that has this key has had a witness.
const CHANGES: &str = "changes";

/// The history that a database says it contains.
#[derive(Debug)]
pub(super) struct StoredHistory {
    /// `None` in a new database.
    pub(super) epoch: Option<String>,
    pub(super) history: HistoryState,
    /// Whether the database has had a witness.
    pub(super) had_witness: bool,
}

/// The place where a database is now.
#[derive(Debug)]
pub(super) struct Location {
    /// Which file the database is.
    pub(super) database: Identity,
    /// The kernel's id of this run of the machine.
    pub(super) boot: String,
}

/// Why a store gets a new epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The database came without its witness, or is another file than the witness knows: it is a copy.
    Copied,
    /// The database is older than the newest state of this directory, or contains another history.
    Older,
    /// The machine stopped while `durability = "process"`.
    PowerCut,
    /// The database was put in place by `mynah restore`.
    Restored,
}

impl Change {
    /// The reason, for the log.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Copied => "the store was copied here from another place",
            Self::Older => {
                "the database is older than the newest one that this data directory has held: an older copy was put in place, or the newest messages were lost"
            }
            Self::PowerCut => {
                "the machine stopped while the server ran with store.durability = \"process\": the newest messages may be lost"
            }
            Self::Restored => "the store was restored from a backup",
        }
    }

    /// Returns whether pending notifications are dropped, because they may be old and were probably sent
    /// already.
    fn drops_jobs(self) -> bool {
        matches!(self, Self::Older | Self::Restored)
    }
}

/// Reads which history a database contains.
pub(super) fn find(db: &Connection) -> rusqlite::Result<StoredHistory> {
    let row = db.query_row("SELECT coalesce(max(id), 0) FROM messages", [], |row| row.get(0))?;
    let changes = meta::get(db, CHANGES)?;
    Ok(StoredHistory {
        epoch: meta::get(db, EPOCH)?,
        had_witness: changes.is_some(),
        history: HistoryState {
            row,
            changes: changes.and_then(|text| text.parse().ok()).unwrap_or(0),
        },
    })
}

/// Returns why the history must get a new epoch; `None` if it keeps its epoch.
pub(super) fn change(record: Option<&Record>, found: &StoredHistory, location: &Location) -> Option<Change> {
    let epoch = found.epoch.as_deref()?;
    let Some(record) = record else {
        // A store of a version without witnesses keeps its epoch.
        return found.had_witness.then_some(Change::Copied);
    };
    let is_same_file = record.database.is(location.database);
    let rebooted = !record.boot.is_empty() && !location.boot.is_empty() && record.boot != location.boot;
    if record.epoch == epoch && is_same_file && rebooted && record.may_lose && !record.closed {
        return Some(Change::PowerCut);
    }
    if record.epoch != epoch || !found.history.has_reached(record.history) {
        return Some(Change::Older);
    }
    (!is_same_file).then_some(Change::Copied)
}

/// Creates a new epoch.
pub(super) fn fresh() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// Writes the epoch, if it is new. If it changes, the same transaction deletes what must not outlive the old
/// one.
pub(super) fn write(
    db: &Connection,
    found: &StoredHistory,
    epoch: &str,
    change: Option<Change>,
) -> rusqlite::Result<()> {
    if change.is_none() && found.had_witness && found.epoch.is_some() {
        return Ok(());
    }
    let tx = db.unchecked_transaction()?;
    meta::put(&tx, EPOCH, epoch)?;
    count(&tx, found.history.changes)?;
    if let Some(change) = change {
        end_at_heads(&tx)?;
        if change.drops_jobs() {
            tx.execute("DELETE FROM push_jobs WHERE dead = 0", [])?;
        }
    }
    tx.commit()
}

/// Writes [`HistoryState::changes`].
pub(super) fn count(db: &Connection, changes: i64) -> rusqlite::Result<()> {
    meta::put(db, CHANGES, &changes.to_string())
}

/// Deletes positions beyond the heads: such a cursor belongs to another history, and would keep new messages
/// from its device.
fn end_at_heads(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "DELETE FROM cursors
             WHERE seq > coalesce((SELECT head FROM conversations c WHERE c.id = cursors.conv_id), 0);
         UPDATE devices SET
             since_row = min(since_row, (SELECT coalesce(max(id), 0) FROM messages)),
             had_row = min(had_row, (SELECT coalesce(max(id), 0) FROM messages))
             WHERE max(since_row, had_row) > (SELECT coalesce(max(id), 0) FROM messages);
         DELETE FROM push_jobs WHERE message > (SELECT coalesce(max(id), 0) FROM messages);",
    )?;
    let mut update = db.prepare(
        "UPDATE participants SET read = c.head, read_counted = c.counted,
             read_sent = CASE WHEN member THEN sent WHEN c.a = uid THEN c.sent_a ELSE c.sent_b END
         FROM conversations c WHERE c.id = participants.conv_id AND participants.read > c.head
         RETURNING conv_id",
    )?;
    let moved = update
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    for conv_id in moved {
        recount(db, conv_id)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(row: i64, changes: i64) -> HistoryState {
        HistoryState { row, changes }
    }

    fn identity(file: &tempfile::NamedTempFile) -> Identity {
        Identity::of(&file.as_file().metadata().unwrap())
    }

    #[test]
    fn only_an_older_state_changes_the_epoch() {
        let [file, other] = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        let location = |file, boot: &str| Location {
            database: identity(file),
            boot: boot.into(),
        };
        let found = |epoch: &str, history| StoredHistory {
            epoch: Some(epoch.into()),
            history,
            had_witness: true,
        };
        let record = Record {
            epoch: "e".into(),
            history: history(10, 5),
            database: identity(&file),
            boot: "monday".into(),
            ..Record::default()
        };
        let change = |found: &StoredHistory, location: &Location| change(Some(&record), found, location);
        for newest in [history(10, 5), history(11, 5), history(10, 6)] {
            assert_eq!(change(&found("e", newest), &location(&file, "monday")), None);
            assert_eq!(change(&found("e", newest), &location(&file, "tuesday")), None);
        }
        for older in [history(9, 5), history(10, 4), history(12, 4)] {
            assert_eq!(
                change(&found("e", older), &location(&file, "monday")),
                Some(Change::Older)
            );
        }
        assert_eq!(
            change(&found("f", history(99, 99)), &location(&file, "monday")),
            Some(Change::Older)
        );
        assert_eq!(
            change(&found("e", history(10, 5)), &location(&other, "monday")),
            Some(Change::Copied)
        );
    }

    #[test]
    fn positions_beyond_the_head_are_removed() {
        let db = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&db, 0).unwrap();
        db.execute_batch(
            "INSERT INTO conversations (id, conv, kind, a, b, head, counted, sent_a, last_row)
                 VALUES (1, zeroblob(16), 0, 'a', 'b', 5, 5, 5, 5);
             INSERT INTO participants (uid, conv_id, read, read_counted) VALUES ('a', 1, 0, 0), ('b', 1, 9, 9);
             INSERT INTO messages (id, conv_id, seq, mid, kind, ts, counts, counted, data)
                 VALUES (5, 1, 5, zeroblob(16), 3, 1, 1, 5, '{}');
             INSERT INTO devices (id, uid, device, since_row, seen, had_row)
                 VALUES (1, 'b', 'ahead', 9, 0, 9), (2, 'b', 'behind', 2, 0, 3);
             INSERT INTO cursors (device_id, conv_id, seq) VALUES (1, 1, 6), (2, 1, 5), (2, 7, 1);
             INSERT INTO push_jobs (message, uid, due, expires) VALUES (5, 'b', 0, 0);",
        )
        .unwrap();
        let found = find(&db).unwrap();
        assert_eq!((found.epoch.as_deref(), found.history), (None, history(5, 0)));
        write(&db, &found, "new", Some(Change::Copied)).unwrap();
        let read = |sql: &str| -> String { db.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!(
            read("SELECT group_concat(device_id || ':' || conv_id || ':' || seq) FROM cursors"),
            "2:1:5"
        );
        assert_eq!(
            read("SELECT group_concat(since_row || ':' || had_row) FROM devices"),
            "5:5,2:3"
        );
        assert_eq!(
            read("SELECT group_concat(uid || ':' || read || ':' || read_counted) FROM participants"),
            "a:0:0,b:5:5"
        );
        assert_eq!(read("SELECT CAST(count(*) AS TEXT) FROM push_jobs"), "1");
        write(&db, &find(&db).unwrap(), "newer", Some(Change::Restored)).unwrap();
        assert_eq!(read("SELECT CAST(count(*) AS TEXT) FROM push_jobs"), "0");
        assert_eq!(find(&db).unwrap().epoch.as_deref(), Some("newer"));
    }

    #[test]
    fn a_store_without_a_witness_is_a_copy_unless_it_never_had_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let location = Location {
            database: identity(&file),
            boot: String::new(),
        };
        for (epoch, had_witness, expected) in [
            (Some("e"), true, Some(Change::Copied)),
            (Some("e"), false, None),
            (None, false, None),
        ] {
            let found = StoredHistory {
                epoch: epoch.map(str::to_owned),
                history: history(1, 1),
                had_witness,
            };
            assert_eq!(change(None, &found, &location), expected);
        }
    }

    #[test]
    fn a_reboot_changes_the_epoch_if_messages_may_be_lost() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = StoredHistory {
            epoch: Some("e".into()),
            history: history(1, 1),
            had_witness: true,
        };
        for (may_lose, closed, before, now, expected) in [
            (true, false, "monday", "tuesday", Some(Change::PowerCut)),
            (true, false, "monday", "monday", None),
            (true, false, "", "tuesday", None),
            (true, true, "monday", "tuesday", None),
            (false, false, "monday", "tuesday", None),
        ] {
            let rebooted = expected.is_some();
            let record = Record {
                epoch: "e".into(),
                // The witness may have reached the disk before the transactions that it describes.
                history: if rebooted { history(9, 9) } else { found.history },
                database: identity(&file),
                boot: before.into(),
                may_lose,
                closed,
                ..Record::default()
            };
            let location = Location {
                database: identity(&file),
                boot: now.into(),
            };
            assert_eq!(change(Some(&record), &found, &location), expected);
        }
    }
}
