//! One conversation in a transaction of its own: for changes to teams and recalls.

use std::sync::Arc;

use mynah_store::ids::{ConvId, Mid, Seq};
use mynah_store::mids::Mids;
use mynah_store::{Appended, Members};

use super::batch::{Draft, Head, NewMessage, next};
use super::failure::Failure;
use super::rows::Moment;
use super::session::{Session, Value};
use super::teams::members_of;
use super::values::{Columns, kind_columns, stored, uuid};

const LOCK: &str = concat!(
    "SELECT ",
    kind_columns!(),
    ", c.head, c.last_row, c.ts, c.counted, c.sent_a, c.sent_b, c.unread_a, c.unread_b, c.closed, c.version, c.last_mid
     FROM conversations c WHERE c.conv = $1 FOR NO KEY UPDATE"
);
const SAVE: &str = "UPDATE conversations SET head = $2, last_row = $3, ts = $4, unread_a = $5, unread_b = $6,
     closed = $7, version = $8, last_mid = $9 WHERE conv = $1";

/// A conversation that is locked until the end of the transaction.
pub(super) struct Log<'a> {
    pub(super) conv: ConvId,
    pub(super) head: Head,
    pub(super) moment: Moment,
    mids: &'a mut Mids,
    messages: Vec<NewMessage<'a>>,
}

impl<'a> Log<'a> {
    /// Locks the conversation; `None` if there is none.
    pub(super) async fn lock(
        session: &Session,
        conv: ConvId,
        (moment, mids): (Moment, &'a mut Mids),
    ) -> Result<Option<Self>, Failure> {
        let rows = session.query(LOCK, &[&uuid(conv)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut row = Columns::of(row);
        let head = Head {
            kind: row.kind()?,
            seq: row.number()?,
            last_row: row.take()?,
            ts: row.number()?,
            counted: row.number()?,
            sent: [row.number()?, row.number()?],
            unread: [row.number()?, row.number()?],
            closed: row.take()?,
            version: row.take()?,
            last_mid: row.take::<Option<_>>()?.map(Mid),
            is_new: false,
            is_dirty: false,
        };
        Ok(Some(Self {
            conv,
            head,
            moment,
            mids,
            messages: Vec::new(),
        }))
    }

    /// The team's members.
    pub(super) async fn members(&self, session: &Session) -> Result<Members, Failure> {
        let found = members_of(session, &[(self.conv, 0)]).await?.remove(&self.conv);
        Ok(Arc::new(found.unwrap_or_default()))
    }

    /// Adds a message.
    pub(super) fn write(&mut self, draft: Draft<'a>) -> Appended {
        let message = next((&mut self.head, &mut self.moment, self.mids), self.conv, draft);
        let (seq, mid, ts): (_, Mid, _) = (message.seq, message.mid, message.ts);
        let numbers = Some(message.numbers());
        self.messages.push(message);
        Appended {
            conv: self.conv,
            seq: Seq(seq),
            mid,
            ts,
            duplicate: false,
            members: None,
            push: None,
            numbers,
        }
    }

    /// Returns the row of a message that was added.
    pub(super) fn row(&self, seq: Seq) -> i64 {
        self.messages
            .iter()
            .find(|it| it.seq == seq.0)
            .map_or(0, |it| it.row)
    }

    /// Writes what has changed.
    pub(super) async fn save(&self, session: &Session) -> Result<(), Failure> {
        super::batch::write_messages(session, &self.messages).await?;
        let head = &self.head;
        let last_mid = head.last_mid.map(|mid| mid.0);
        let values: [Value<'_>; 9] = [
            &uuid(self.conv),
            &stored(head.seq),
            &head.last_row,
            &stored(head.ts),
            &stored(head.unread[0]),
            &stored(head.unread[1]),
            &head.closed,
            &head.version,
            &last_mid,
        ];
        session.execute(SAVE, &values).await?;
        Ok(())
    }
}
