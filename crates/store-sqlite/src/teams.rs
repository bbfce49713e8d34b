//! Teams as the writer knows them.

use std::sync::Arc;

use mynah_store::Members;
use mynah_store::ids::{ConvId, Seq, TeamId, Uid};
use rusqlite::{Connection, OptionalExtension, params};

use super::cache::Generations;
use super::columns::{Columns, number};

/// Total number of members in the teams that are remembered beyond the transaction that used them.
const REMEMBERED_MEMBERS: usize = 1_000_000;

/// A team at one moment. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct TeamState {
    pub(super) conv: ConvId,
    pub(super) conv_id: i64,
    pub(super) name: Arc<str>,
    pub(super) members: Members,
}

/// The teams in memory.
pub(super) struct Teams {
    pub(super) known: Generations<TeamId, TeamState>,
}

impl Teams {
    pub(super) fn new() -> Self {
        Self {
            known: Generations::new(REMEMBERED_MEMBERS),
        }
    }

    /// Returns the team as the open transaction sees it.
    pub(super) fn find(&mut self, db: &Connection, team: &TeamId) -> rusqlite::Result<Option<TeamState>> {
        if let Some(known) = self.known.get_mut(team, weight) {
            return Ok(Some(known.clone()));
        }
        let loaded = load(db, team)?;
        if let Some(state) = &loaded {
            self.remember(team, state.clone());
        }
        Ok(loaded)
    }

    /// Records the new state of a team.
    pub(super) fn remember(&mut self, team: &TeamId, state: TeamState) {
        let weight = weight(&state);
        self.known.insert(team.clone(), state, weight);
    }
}

fn weight(team: &TeamState) -> usize {
    team.members.len() + 1
}

/// Reads a team and its members from the database.
pub(super) fn load(db: &Connection, team: &TeamId) -> rusqlite::Result<Option<TeamState>> {
    let found = db
        .prepare_cached(
            "SELECT c.conv, c.id, t.name FROM teams t JOIN conversations c ON c.id = t.conv_id WHERE t.team = ?1",
        )?
        .query_row([team.as_str()], |row| Ok((row.conv(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((conv, conv_id, name)) = found else {
        return Ok(None);
    };
    let mut select = db.prepare_cached(
        "SELECT uid FROM participants INDEXED BY participants_by_team WHERE conv_id = ?1 AND member = 1 ORDER BY uid",
    )?;
    let members = select.query_map([conv_id], |row| row.uid(0))?;
    let members = members.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    Ok(Some(TeamState {
        conv,
        conv_id,
        name,
        members: Arc::new(members),
    }))
}

/// Returns members after `after` in conversation `conv`, if it is a team's, who were members when message
/// `seq` was written.
pub(super) fn page(
    db: &Connection,
    conv: ConvId,
    seq: Seq,
    after: Option<&Uid>,
    limit: usize,
) -> rusqlite::Result<Vec<Uid>> {
    let mut select = db.prepare_cached(
        "SELECT p.uid FROM conversations c CROSS JOIN participants p INDEXED BY participants_by_team
         WHERE c.conv = ?1 AND p.conv_id = c.id AND p.member = 1 AND p.uid > ?2 AND p.joined < ?3 ORDER BY p.uid LIMIT ?4",
    )?;
    let after = after.map_or("", Uid::as_str);
    let found = select.query_map(params![conv.0, after, number(seq.0), limit], |row| row.uid(0))?;
    found.filter_map(Result::transpose).collect()
}
