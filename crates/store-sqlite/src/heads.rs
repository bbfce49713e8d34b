//! Conversations as the writer knows them: their newest values are kept in memory and written once per
//! transaction.

use mynah_store::ids::{ConvId, PairClass, TeamId, Uid};
use mynah_store::{ConvKind, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::cache::Generations;
use super::columns::Columns;
use super::devices::At;

/// Number of conversations that are remembered beyond the transaction that used them.
const REMEMBERED: usize = 65_536;

/// The part of a row of `conversations` that appends change.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    pub(super) id: i64,
    pub(super) seq: u64,
    pub(super) last_row: i64,
    pub(super) ts: UnixMillis,
    pub(super) counted: u64,
    /// How many of the messages in `counted` each of the two users of a pair has sent; in notices the owner,
    /// and 0.
    pub(super) sent: [u64; 2],
    /// Unread messages of each of the two users of a pair; in notices of the owner, and 0. See
    /// [`super::unread`].
    pub(super) unread: [u64; 2],
    pub(super) closed: bool,
    dirty: bool,
}

impl Head {
    /// Returns the part on which cursors depend.
    pub(super) fn at(&self) -> At {
        At {
            conv_id: self.id,
            head: self.seq,
            last_row: self.last_row,
        }
    }
}

/// The conversations in memory. What a failed transaction has changed must be forgotten with
/// [`Heads::forget`].
pub(super) struct Heads {
    known: Generations<ConvId, Head>,
    dirty: Vec<ConvId>,
}

impl Heads {
    pub(super) fn new() -> Self {
        Self {
            known: Generations::new(REMEMBERED),
            dirty: Vec::new(),
        }
    }

    /// Returns the conversation. It is created, with its participants, if it does not exist.
    pub(super) fn find(
        &mut self,
        db: &Connection,
        conv: ConvId,
        kind: impl FnOnce() -> ConvKind,
    ) -> rusqlite::Result<&mut Head> {
        if self.known(db, conv)?.is_none() {
            let head = create(db, conv, &kind())?;
            self.known.insert(conv, head, 1);
        }
        let head = self.known.get_mut(&conv, |_| 1);
        Ok(head.expect("it was found or inserted above"))
    }

    /// Returns the conversation, if it exists.
    pub(super) fn known(&mut self, db: &Connection, conv: ConvId) -> rusqlite::Result<Option<&mut Head>> {
        // Two lookups, because the borrow of a hit would last to the end of the function.
        if self.known.get_mut(&conv, |_| 1).is_none() {
            let Some(head) = load(db, conv)? else {
                return Ok(None);
            };
            self.known.insert(conv, head, 1);
        }
        Ok(self.known.get_mut(&conv, |_| 1))
    }

    /// Returns a conversation that this transaction has found before, to be changed. It is written at the
    /// end.
    pub(super) fn edit(&mut self, conv: ConvId) -> &mut Head {
        let head = self
            .known
            .get_mut(&conv, |_| 1)
            .expect("found before in this transaction");
        if !std::mem::replace(&mut head.dirty, true) {
            self.dirty.push(conv);
        }
        head
    }

    /// Writes what was edited. Must be called at the end of a transaction.
    pub(super) fn flush(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        let mut update = db.prepare_cached(
            "UPDATE conversations SET head = ?2, last_row = ?3, ts = ?4, counted = ?5, sent_a = ?6, sent_b = ?7, closed = ?8,
                 unread_a = ?9, unread_b = ?10
             WHERE id = ?1",
        )?;
        for conv in self.dirty.drain(..) {
            let Some(head) = self.known.get_mut(&conv, |_| 1) else {
                continue;
            };
            update.execute(params![
                head.id,
                head.seq,
                head.last_row,
                head.ts,
                head.counted,
                head.sent[0],
                head.sent[1],
                head.closed,
                head.unread[0],
                head.unread[1],
            ])?;
            head.dirty = false;
        }
        Ok(())
    }

    /// Forgets a conversation that was changed in the database between two transactions.
    pub(super) fn reread(&mut self, conv: ConvId) {
        self.known.remove(&conv);
    }

    /// Called after a commit: drops what was not used recently.
    pub(super) fn trim(&mut self) {
        self.known.trim();
    }

    /// Called after a failed transaction: the values in memory may be wrong.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.dirty.clear();
    }
}

/// Creates a conversation, with a row for each user who sees it. The rows of a team's members are created
/// elsewhere.
fn create(db: &Connection, conv: ConvId, kind: &ConvKind) -> rusqlite::Result<Head> {
    let (code, a, b, team) = match kind {
        ConvKind::Pair(class, a, b) => (*class as i64, Some(a), Some(b), None),
        ConvKind::Notices(owner) => (NOTICES, Some(owner), None, None),
        ConvKind::Team(team) => (TEAM, None, None, Some(team)),
    };
    db.prepare_cached("INSERT INTO conversations (conv, kind, a, b, team) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            conv.0,
            code,
            a.map(Uid::as_str),
            b.map(Uid::as_str),
            team.map(TeamId::as_str)
        ])?;
    let id = db.last_insert_rowid();
    let mut join = db.prepare_cached("INSERT INTO participants (uid, conv_id) VALUES (?1, ?2)")?;
    for uid in a.into_iter().chain(b.filter(|_| a != b)) {
        join.execute(params![uid.as_str(), id])?;
    }
    Ok(Head {
        id,
        ..Head::default()
    })
}

const NOTICES: i64 = 4;
const TEAM: i64 = 5;

/// Reads the sort of a conversation from the columns `kind`, `a`, `b`, `team`, which begin at `at`. Returns
/// `None` for a row that no version of this program writes.
pub(super) fn kind(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<ConvKind>> {
    let class = match row.get(at)? {
        0i64 => PairClass::Plain,
        1 => PairClass::Doctor,
        2 => PairClass::Teammate,
        3 => PairClass::DoctorFriend,
        NOTICES => return Ok(row.uid(at + 1)?.map(ConvKind::Notices)),
        TEAM => return Ok(row.team(at + 3)?.map(ConvKind::Team)),
        _ => return Ok(None),
    };
    Ok(row
        .uid(at + 1)?
        .zip(row.uid(at + 2)?)
        .map(|(a, b)| ConvKind::Pair(class, a, b)))
}

fn load(db: &Connection, conv: ConvId) -> rusqlite::Result<Option<Head>> {
    db.prepare_cached(
        "SELECT id, head, last_row, ts, counted, sent_a, sent_b, closed, unread_a, unread_b
         FROM conversations WHERE conv = ?1",
    )?
    .query_row(params![conv.0], |row| {
        Ok(Head {
            id: row.get(0)?,
            seq: row.get(1)?,
            last_row: row.get(2)?,
            ts: row.get(3)?,
            counted: row.get(4)?,
            sent: [row.get(5)?, row.get(6)?],
            closed: row.get(7)?,
            unread: [row.get(8)?, row.get(9)?],
            dirty: false,
        })
    })
    .optional()
}
