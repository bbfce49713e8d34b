//! Writes a message into its conversation, as one row in the writer's transaction.

use mynah_store::ids::{Cid, ConvId, Mid, Seq, Uid};
use mynah_store::{Appended, JobId, Members, UnixMillis};
use rusqlite::params;

use super::tx::Tx;

/// A message to write.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub(super) kind: u16,
    pub(super) counts: bool,
    pub(super) from: Option<&'a Uid>,
    pub(super) cid: Option<&'a Cid>,
    pub(super) own: Option<u64>,
    pub(super) member_sent: Option<u64>,
    pub(super) data: &'a str,
}

/// A message that was written.
pub(super) struct Written {
    pub(super) conv: ConvId,
    pub(super) row: i64,
    pub(super) seq: Seq,
    pub(super) mid: Mid,
    pub(super) ts: UnixMillis,
}

impl Written {
    /// The result of an append.
    pub(super) fn appended(self, members: Option<Members>, push: Option<JobId>) -> Appended {
        Appended {
            conv: self.conv,
            seq: self.seq,
            mid: self.mid,
            ts: self.ts,
            duplicate: false,
            members,
            push,
            numbers: None,
        }
    }
}

/// The `ts` of a message may be ahead of the clock by this much, so that times do not decrease when the clock
/// is adjusted a little. After a larger step back they do decrease, because a correct time is better: `seq`
/// gives the order anyway.
const LATE_MS: u64 = 10_000;

/// Writes the next message of a conversation, which this transaction must have found before.
pub(super) fn write(tx: &mut Tx<'_>, conv: ConvId, draft: &Draft<'_>) -> rusqlite::Result<Written> {
    let row = tx.state.next_row;
    let mid = tx.state.mids.next(tx.now);
    let head = tx.state.heads.edit(conv);
    head.seq += 1;
    head.counted += u64::from(draft.counts);
    head.ts = if head.ts <= tx.now + LATE_MS {
        head.ts.max(tx.now)
    } else {
        tx.now
    };
    head.last_row = row;
    let written = Written {
        conv,
        row,
        seq: Seq(head.seq),
        mid,
        ts: head.ts,
    };
    tx.db.prepare_cached(
        "INSERT INTO messages (id, conv_id, seq, mid, kind, ts, counts, sender, cid, counted, own, member_sent, data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute(params![
        row,
        head.id,
        head.seq,
        mid.0.as_bytes(),
        draft.kind,
        head.ts,
        draft.counts,
        draft.from.map(Uid::as_str),
        draft.cid.map(Cid::as_str),
        head.counted,
        draft.own,
        draft.member_sent,
        draft.data,
    ])?;
    tx.state.next_row += 1;
    Ok(written)
}
