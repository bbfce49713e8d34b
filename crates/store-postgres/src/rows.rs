//! The numbers of messages in the order of their transactions (`messages.id`), and what they say about time.
//!
//! An id is the number of the transaction that wrote the message, times 2^20, plus its place in the
//! transaction. A sequence would not do: its numbers are drawn before the commit, so that a smaller one may
//! become visible after a greater one, and a device that started "at the newest" would miss it.
//!
//! Invariants: all messages with an id up to [`Moment::floor`] were committed before that moment (or will
//! never be), and all messages that are committed later have greater ids. Ids do not always ascend with
//! `seq`: of two transactions, the one with the smaller number may lock the conversation later. But if
//! `conversations.last_row`, the greatest id of a conversation, is not above a floor, then this holds for all
//! its messages of that moment, and for no later one.

use mynah_store::UnixMillis;
use tokio_postgres::{GenericClient, Row};

use super::failure::Failure;
use super::rules::Rules;
use super::session::Session;

/// The number of bits for the place of a message in its transaction. The deletion of a team needs most
/// places: one for each member.
const BITS: u32 = 20;

/// What is asked for; see [`Moment`].
macro_rules! moment {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_current_xact_id()::text::bigint,
         pg_snapshot_xmin(pg_current_snapshot())::text::bigint, committed"
    };
}
/// Reads the number of the writer's transaction that has just begun, and counts it in the row of the node
/// (`nodes.rs`). The number is drawn after the snapshot was taken, so that it is not below `xmin`.
pub(super) const MOMENT: &str = concat!(
    "UPDATE writers SET committed = committed + 1 WHERE node = $1 RETURNING ",
    moment!()
);
/// The same for another transaction of the node that writes.
const OTHER_MOMENT: &str = concat!(
    "SELECT ",
    moment!(),
    " FROM writers WHERE node = $1 FOR KEY SHARE"
);
/// The same for a transaction that only reads: its number is the next one.
const READ_MOMENT: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
     pg_snapshot_xmax(pg_current_snapshot())::text::bigint, pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
     0::bigint";

/// The beginning of a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// PostgreSQL's time.
    pub(super) now: UnixMillis,
    /// The time by which push jobs are due.
    pub(super) steady: UnixMillis,
    /// See `Age::measured`.
    pub(super) measured: UnixMillis,
    /// The transaction's number.
    pub(super) transaction: i64,
    /// How many transactions of the writer are committed with this one.
    pub(super) committed: i64,
    /// See the module.
    pub(super) floor: i64,
    /// The next id.
    next: i64,
}

impl Moment {
    /// Reads it from the transaction that has begun and that writes. Fails if the node has lost its row.
    pub(super) async fn begin(session: &Session, rules: &Rules) -> Result<Self, Failure> {
        let rows = session.query(MOMENT, &[&rules.node]).await?;
        Self::from_row(rows.first().ok_or(Failure::Fenced)?, rules.base)
    }

    /// The same from a connection without prepared statements.
    pub(super) async fn of(client: &impl GenericClient, rules: &Rules) -> Result<Self, Failure> {
        let row = client.query_opt(OTHER_MOMENT, &[&rules.node]).await?;
        Self::from_row(&row.ok_or(Failure::Fenced)?, rules.base)
    }

    /// The same for a transaction that only reads; `base` is added to all ids.
    pub(super) async fn read(session: &Session, base: i64) -> Result<Self, Failure> {
        let rows = session.query(READ_MOMENT, &[]).await?;
        Self::from_row(rows.first().ok_or(Failure::Defect("no moment"))?, base)
    }

    fn from_row(row: &Row, base: i64) -> Result<Self, Failure> {
        let (now, transaction, oldest): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let committed = row.try_get(3)?;
        Ok(Self {
            now: now.unsigned_abs(),
            steady: now.unsigned_abs(),
            measured: now.unsigned_abs(),
            transaction,
            committed,
            floor: base + (oldest << BITS) - 1,
            next: base + (transaction << BITS),
        })
    }

    /// A time of day that has certainly passed.
    pub(super) fn certain(&self) -> UnixMillis {
        self.measured.min(self.now)
    }

    /// The smallest id that a message of this transaction can have.
    pub(super) fn first_row(&self) -> i64 {
        self.next
    }

    /// The id of the next message.
    pub(super) fn next_row(&mut self) -> i64 {
        self.next += 1;
        self.next - 1
    }
}

/// Returns the first and the last id that messages of a transaction can have.
pub(super) fn ids(base: i64, transaction: i64) -> (i64, i64) {
    let first = base + (transaction << BITS);
    (first, first + (1 << BITS) - 1)
}

/// What has to be added to the ids of a database whose transactions are counted from `transaction` on, so
/// that they are greater than `newest`; it was `before`. Only a database that was restored into another
/// cluster needs it.
pub(super) fn base(before: i64, newest: i64, transaction: i64) -> i64 {
    let least = newest - (transaction << BITS) + 1;
    before.max(least)
}
