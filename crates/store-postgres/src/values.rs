//! Converts values of the store's contract to PostgreSQL's types, and back.
//!
//! Invariant: numbers are never negative; numbers above PostgreSQL's largest integer are stored as the
//! largest one.

use std::sync::Arc;

use mynah_store::ids::{Cid, ConvId, Mid, PairClass, Seq, TeamId, Uid};
use mynah_store::{ConvKind, Message};
use serde_json::value::RawValue;
use tokio_postgres::Row;
use uuid::Uuid;

use super::failure::Failure;

/// The code of a user's notices in `conversations.kind`.
const NOTICES: i16 = 4;
/// The code of a team.
const TEAM: i16 = 5;

/// Returns a number in PostgreSQL's type.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn uuid(conv: ConvId) -> Uuid {
    Uuid::from_bytes(conv.0)
}

/// Columns of a row, which are read in their order.
pub(super) struct Columns<'a> {
    row: &'a Row,
    next: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a Row) -> Self {
        Self { row, next: 0 }
    }

    /// The next column.
    pub(super) fn take<T: tokio_postgres::types::FromSql<'a>>(&mut self) -> Result<T, Failure> {
        self.next += 1;
        Ok(self.row.try_get(self.next - 1)?)
    }

    pub(super) fn skip(&mut self, columns: usize) {
        self.next += columns;
    }

    pub(super) fn number(&mut self) -> Result<u64, Failure> {
        self.take::<i64>().map(i64::unsigned_abs)
    }

    pub(super) fn some_number(&mut self) -> Result<Option<u64>, Failure> {
        Ok(self.take::<Option<i64>>()?.map(i64::unsigned_abs))
    }

    pub(super) fn conv(&mut self) -> Result<ConvId, Failure> {
        Ok(ConvId(self.take::<Uuid>()?.into_bytes()))
    }

    pub(super) fn uid(&mut self) -> Result<Option<Uid>, Failure> {
        let text: Option<&str> = self.take()?;
        text.map(Uid::new)
            .transpose()
            .map_err(|_| Failure::Defect("a uid in the database is not valid"))
    }

    /// Reads [`KIND_COLUMNS`].
    pub(super) fn kind(&mut self) -> Result<ConvKind, Failure> {
        let code: i16 = self.take()?;
        let (a, b) = (self.uid()?, self.uid()?);
        let team: Option<&str> = self.take()?;
        let class = match code {
            0 => PairClass::Plain,
            1 => PairClass::Doctor,
            2 => PairClass::Teammate,
            _ => PairClass::DoctorFriend,
        };
        match (code, a, b, team.map(TeamId::new)) {
            (0..=3, Some(a), Some(b), _) => Ok(ConvKind::Pair(class, a, b)),
            (NOTICES, Some(owner), ..) => Ok(ConvKind::Notices(owner)),
            (TEAM, _, _, Some(Ok(team))) => Ok(ConvKind::Team(team)),
            _ => Err(Failure::Defect(
                "a conversation in the database is of no known kind",
            )),
        }
    }

    /// Reads [`MESSAGE_COLUMNS`]; `None` if they are null.
    pub(super) fn message(&mut self) -> Result<Option<Message>, Failure> {
        let Some(kind) = self.take::<Option<i32>>()? else {
            self.skip(8);
            return Ok(None);
        };
        let data: &str = self.take()?;
        let (mid, conv, seq) = (Mid(self.take()?), self.conv()?, Seq(self.number()?));
        let from = self.uid()?;
        let cid = self.take::<Option<&str>>()?.and_then(|text| Cid::new(text).ok());
        let ts = self.number()?;
        let recalled: bool = self.take()?;
        let data = if recalled { "null" } else { data };
        let data = RawValue::from_string(data.to_owned());
        Ok(Some(Message {
            kind: kind as u16,
            data: Arc::from(data.map_err(|_| Failure::Defect("a payload in the database is not JSON"))?),
            mid,
            conv,
            seq,
            from,
            cid,
            ts,
            recalled,
        }))
    }
}

/// What [`Columns::kind`] reads, of conversation `c`.
macro_rules! kind_columns {
    () => {
        "c.kind, c.a, c.b, c.team"
    };
}
/// What [`Columns::message`] reads, of message `m`.
macro_rules! message_columns {
    () => {
        "m.kind, m.data, m.mid, m.conv, m.seq, m.sender, m.cid, m.ts, m.recalled"
    };
}
pub(super) use {kind_columns, message_columns};

/// A kind as columns: its code, a, b and the team.
pub(super) fn kind_values(kind: &ConvKind) -> (i16, Option<&str>, Option<&str>, Option<&str>) {
    match kind {
        ConvKind::Pair(class, a, b) => (*class as i16, Some(a.as_str()), Some(b.as_str()), None),
        ConvKind::Notices(owner) => (NOTICES, Some(owner.as_str()), None, None),
        ConvKind::Team(team) => (TEAM, None, None, Some(team.as_str())),
    }
}
