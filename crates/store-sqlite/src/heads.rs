//! Conversations as the writer knows them: their newest values, kept in memory and written once per transaction.

use mynah_store::ids::{ConvId, PairClass, TeamId, Uid};
use mynah_store::{ConvKind, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::cache::Generations;
use super::devices::At;

/// Conversations remembered beyond the transaction that used them.
const REMEMBERED: usize = 65_536;

/// A row of `conversations`, as far as appends change it.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: i64,
    pub(super) seq: u64,
    pub(super) last_row: i64,
    pub(super) ts: UnixMillis,
    pub(super) counted: u64,
    /// Of the counted, how many are by the pair's users, or `[owner's, 0]`.
    pub(super) sent: [u64; 2],
    /// Unread by the pair's users, or `[owner's, 0]`. See [`super::unread`].
    pub(super) unread: [u64; 2],
    pub(super) closed: bool,
    dirty: bool,
}

impl Head {
    /// As far as cursors depend on it.
    pub(super) fn at(&self) -> At {
        At {
            conv_id: self.id,
            head: self.seq,
            last_row: self.last_row,
        }
    }
}

/// The writer's conversations. What a failed transaction has changed must be forgotten with [`Heads::forget`].
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

    /// The conversation; made, with its participants, if there is none and `kind` says what it would be.
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
        Ok(head.expect("it is there or was just inserted"))
    }

    /// The conversation, if there is one.
    pub(super) fn known(&mut self, db: &Connection, conv: ConvId) -> rusqlite::Result<Option<&mut Head>> {
        // Twice, as the borrow of a hit would last to the end.
        if self.known.get_mut(&conv, |_| 1).is_none() {
            let Some(head) = load(db, conv)? else {
                return Ok(None);
            };
            self.known.insert(conv, head, 1);
        }
        Ok(self.known.get_mut(&conv, |_| 1))
    }

    /// A conversation that this transaction has found already, to be changed and so written at its end.
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

    /// Writes what was edited; the last thing in a transaction.
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
                head.seq as i64,
                head.last_row,
                head.ts as i64,
                head.counted as i64,
                head.sent[0] as i64,
                head.sent[1] as i64,
                head.closed,
                head.unread[0] as i64,
                head.unread[1] as i64,
            ])?;
            head.dirty = false;
        }
        Ok(())
    }

    /// The file has changed under a conversation, between two transactions.
    pub(super) fn reread(&mut self, conv: ConvId) {
        self.known.remove(&conv);
    }

    /// After a commit: drops what was not used lately.
    pub(super) fn trim(&mut self) {
        self.known.trim();
    }

    /// After a failed transaction: nothing that is remembered can be trusted.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.dirty.clear();
    }
}

/// A new conversation, with a row for each user who sees it; a team's members are not its business.
pub(super) fn create(db: &Connection, conv: ConvId, kind: &ConvKind) -> rusqlite::Result<Head> {
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
        seq: 0,
        last_row: 0,
        ts: 0,
        counted: 0,
        sent: [0; 2],
        unread: [0; 2],
        closed: false,
        dirty: false,
    })
}

const NOTICES: i64 = 4;
const TEAM: i64 = 5;

/// What sort of conversation a row is, from its columns `kind`, `a`, `b`, `team`, which begin at `at`. `None` for a row that no
/// version of this program writes.
pub(super) fn kind(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<ConvKind>> {
    let uid = |column| -> rusqlite::Result<Option<Uid>> {
        Ok(row
            .get_ref(column)?
            .as_str_or_null()?
            .and_then(|text| Uid::new(text).ok()))
    };
    let class = match row.get(at)? {
        0i64 => PairClass::Plain,
        1 => PairClass::Doctor,
        2 => PairClass::Teammate,
        3 => PairClass::DoctorFriend,
        NOTICES => return Ok(uid(at + 1)?.map(ConvKind::Notices)),
        TEAM => {
            let team = row
                .get_ref(at + 3)?
                .as_str_or_null()?
                .and_then(|text| TeamId::new(text).ok());
            return Ok(team.map(ConvKind::Team));
        }
        _ => return Ok(None),
    };
    Ok(uid(at + 1)?
        .zip(uid(at + 2)?)
        .map(|(a, b)| ConvKind::Pair(class, a, b)))
}

fn load(db: &Connection, conv: ConvId) -> rusqlite::Result<Option<Head>> {
    db.prepare_cached(
        "SELECT id, head, last_row, ts, counted, sent_a, sent_b, closed, unread_a, unread_b
         FROM conversations WHERE conv = ?1",
    )?
    .query_row(params![conv.0], |row| {
        let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        Ok(Head {
            id: row.get(0)?,
            seq: number(1)?,
            last_row: row.get(2)?,
            ts: number(3)?,
            counted: number(4)?,
            sent: [number(5)?, number(6)?],
            closed: row.get(7)?,
            unread: [number(8)?, number(9)?],
            dirty: false,
        })
    })
    .optional()
}
