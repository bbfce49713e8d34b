//! Counts the unread messages of a conversation again (see `unread.rs`).

use mynah_store::ids::ConvId;
use rusqlite::Connection;

use super::columns::Columns;
use super::conversations::count_sql;
use super::totals::change_total;

/// Counts again after retention has deleted messages, in a transaction that does nothing else. Returns the
/// conversation if it is a pair or notices and a number has changed.
pub(super) fn recount(db: &Connection, conv_id: i64) -> rusqlite::Result<Option<ConvId>> {
    let mut select = db.prepare_cached(&format!(
        "SELECT c.conv, p.uid, c.a = p.uid, CASE WHEN c.a = p.uid THEN c.unread_a ELSE c.unread_b END, {}
         FROM conversations c JOIN participants p ON p.conv_id = c.id AND p.uid IN (c.a, c.b) WHERE c.id = ?1",
        count_sql()
    ))?;
    let mut changed = None;
    let sides = select
        .query_map([conv_id], |row| {
            Ok((row.conv(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?
        .collect::<rusqlite::Result<Vec<(ConvId, String, bool, i64, i64)>>>()?;
    for (conv, uid, is_a, before, now) in sides {
        if before == now {
            continue;
        }
        changed = Some(conv);
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
