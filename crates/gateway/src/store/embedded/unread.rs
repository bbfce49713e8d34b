//! Unread messages of pairs and notices: a number for each side in the conversation's row, and the sum for
//! each user.
//!
//! Invariant: after each commit, a side's number is what [`conversations::count_sql`] counts, and
//! `users.unread` is the sum of these numbers over a user's conversations. Unread messages of teams are
//! counted when they are asked for, because a message to a team must not write a row for each member.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::conversations;
use super::state::State;
use crate::ids::{ConvId, Uid};
use crate::store::ConvKind;

/// By how much the users' sums have changed in the open transaction.
#[derive(Default)]
pub(super) struct Totals {
    changed: BTreeMap<Uid, i64>,
}

impl Totals {
    fn add(&mut self, uid: &Uid, change: i64) {
        match self.changed.get_mut(uid) {
            Some(sum) => *sum += change,
            None => drop(self.changed.insert(uid.clone(), change)),
        }
    }

    /// Writes them; one row for each user, whatever the number of messages.
    pub(super) fn flush(&mut self, db: &Connection) -> rusqlite::Result<()> {
        for (uid, change) in std::mem::take(&mut self.changed) {
            change_total(db, uid.as_str(), change)?;
        }
        Ok(())
    }

    /// After a failed transaction.
    pub(super) fn forget(&mut self) {
        self.changed.clear();
    }
}

fn change_total(db: &Connection, uid: &str, change: i64) -> rusqlite::Result<()> {
    if change == 0 {
        return Ok(());
    }
    db.prepare_cached(
        "INSERT INTO users (uid, unread) VALUES (?1, max(0, ?2))
         ON CONFLICT DO UPDATE SET unread = max(0, unread + ?2)",
    )?
    .execute(params![uid, change])?;
    Ok(())
}

/// Which side of the conversation `uid` is; `None` for teams, whose members have none.
pub(super) fn side(kind: &ConvKind, uid: &Uid) -> Option<usize> {
    match kind {
        ConvKind::Pair(_, a, _) => Some(usize::from(uid != a)),
        ConvKind::Notices(_) => Some(0),
        ConvKind::Team(_) => None,
    }
}

/// Sets the number of unread messages of `uid`, on this side of a conversation that the transaction has
/// found.
pub(super) fn set(state: &mut State, conv: ConvId, (side, uid): (usize, &Uid), unread: u64) {
    let head = state.heads.edit(conv);
    let before = std::mem::replace(&mut head.unread[side], unread);
    state.totals.add(uid, unread as i64 - before as i64);
}

/// One more, or one less.
pub(super) fn change(state: &mut State, conv: ConvId, (side, uid): (usize, &Uid), by: i64) {
    let now = state.heads.edit(conv).unread[side].saturating_add_signed(by);
    set(state, conv, (side, uid), now);
}

/// Counts again after retention has deleted messages, in a transaction that does nothing else. Returns the
/// conversation if it is a pair or notices and a number has changed.
pub(super) fn recount(db: &Connection, conv_id: i64) -> rusqlite::Result<Option<ConvId>> {
    let mut select = db.prepare_cached(&format!(
        "SELECT c.conv, p.uid, c.a = p.uid, CASE WHEN c.a = p.uid THEN c.unread_a ELSE c.unread_b END, {}
         FROM conversations c JOIN participants p ON p.conv_id = c.id AND p.uid IN (c.a, c.b) WHERE c.id = ?1",
        conversations::count_sql()
    ))?;
    let mut changed = None;
    let sides = select
        .query_map([conv_id], |row| {
            let conv: [u8; 16] = row.get(0)?;
            let uid: String = row.get(1)?;
            Ok((
                conv,
                uid,
                row.get::<_, bool>(2)?,
                row.get::<_, i64>(3)?,
                row.get::<_, i64>(4)?,
            ))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for (conv, uid, is_a, before, now) in sides {
        if before == now {
            continue;
        }
        changed = Some(ConvId(conv));
        change_total(db, &uid, now - before)?;
        db.prepare_cached(if is_a {
            "UPDATE conversations SET unread_a = ?2 WHERE id = ?1"
        } else {
            "UPDATE conversations SET unread_b = ?2 WHERE id = ?1"
        })?
        .execute([conv_id, now])?;
    }
    Ok(changed)
}

/// What a user has unread in all its pairs and notices.
pub(super) fn total(db: &Connection, uid: &Uid) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT unread FROM users WHERE uid = ?1")?
        .query_row([uid.as_str()], |row| row.get::<_, i64>(0))
        .optional()
        .map(|found| found.map_or(0, i64::unsigned_abs))
}
