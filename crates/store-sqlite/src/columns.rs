//! How the values of the store's contract are kept in columns.

use mynah_store::ids::{Cid, ConvId, Mid, Seq, TeamId, Uid};
use rusqlite::Row;

/// Reads values of the store's contract from a row. A text that is not a valid id was not written by this
/// program, and is read as `None`.
pub(super) trait Columns {
    fn conv(&self, column: usize) -> rusqlite::Result<ConvId>;
    fn mid(&self, column: usize) -> rusqlite::Result<Mid>;
    fn seq(&self, column: usize) -> rusqlite::Result<Seq>;
    fn uid(&self, column: usize) -> rusqlite::Result<Option<Uid>>;
    fn cid(&self, column: usize) -> rusqlite::Result<Option<Cid>>;
    fn team(&self, column: usize) -> rusqlite::Result<Option<TeamId>>;
}

impl Columns for Row<'_> {
    fn conv(&self, column: usize) -> rusqlite::Result<ConvId> {
        self.get(column).map(ConvId)
    }

    fn mid(&self, column: usize) -> rusqlite::Result<Mid> {
        let bytes = self.get(column)?;
        Ok(Mid(uuid::Uuid::from_bytes(bytes)))
    }

    fn seq(&self, column: usize) -> rusqlite::Result<Seq> {
        self.get(column).map(Seq)
    }

    fn uid(&self, column: usize) -> rusqlite::Result<Option<Uid>> {
        let text = self.get_ref(column)?.as_str_or_null()?;
        Ok(text.and_then(|text| Uid::new(text).ok()))
    }

    fn cid(&self, column: usize) -> rusqlite::Result<Option<Cid>> {
        let text = self.get_ref(column)?.as_str_or_null()?;
        Ok(text.and_then(|text| Cid::new(text).ok()))
    }

    fn team(&self, column: usize) -> rusqlite::Result<Option<TeamId>> {
        let text = self.get_ref(column)?.as_str_or_null()?;
        Ok(text.and_then(|text| TeamId::new(text).ok()))
    }
}

/// SQLite's integers have a sign: the largest stands for all larger ones.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
