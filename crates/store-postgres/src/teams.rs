//! The members of teams, which are read from the database and remembered until they change.
//!
//! Invariant: a remembered list belongs to one version of `conversations.version`. It is used only by
//! transactions that have read this version with the head locked.

use std::collections::HashMap;
use std::sync::Arc;

use mynah_store::ids::{ConvId, Seq, TeamId, Uid};
use mynah_store::{Members, Team};

use super::failure::Failure;
use super::session::Session;
use super::values::{Columns, stored, uuid};

/// The maximum number of remembered members, in all teams together.
const MOST_REMEMBERED: usize = 1_000_000;

/// The members of some conversations, in order.
pub(super) const MEMBERS: &str = "SELECT p.conv, p.uid FROM unnest($1::uuid[]) AS q(conv)
     JOIN participants p ON p.conv = q.conv AND p.member ORDER BY p.conv, p.uid";
const TEAM: &str = "SELECT t.name, t.conv FROM teams t WHERE t.team = $1";
const PAGE: &str = "SELECT p.uid FROM conversations c JOIN participants p ON p.conv = c.conv
     WHERE c.conv = $1 AND NOT c.closed AND p.member AND p.uid > $2 AND p.joined < $3 ORDER BY p.uid LIMIT $4";

/// See the module.
#[derive(Default)]
pub(super) struct MembersCache {
    known: HashMap<ConvId, (i64, Members)>,
    count: usize,
}

impl MembersCache {
    /// Returns those whose members are not remembered in this version.
    pub(super) fn stale(&self, teams: impl Iterator<Item = (ConvId, i64)>) -> Vec<(ConvId, i64)> {
        teams
            .filter(|(conv, version)| self.get(*conv, *version).is_none())
            .collect()
    }

    /// Remembers the members that were read.
    pub(super) fn fill(&mut self, teams: Vec<(ConvId, i64)>, mut found: HashMap<ConvId, Vec<Uid>>) {
        if self.count > MOST_REMEMBERED {
            (self.known, self.count) = (HashMap::new(), 0);
        }
        for (conv, version) in teams {
            self.put(conv, version, Arc::new(found.remove(&conv).unwrap_or_default()));
        }
    }

    /// Remembers the members of a version.
    pub(super) fn put(&mut self, conv: ConvId, version: i64, members: Members) {
        self.count += members.len() + 1;
        if let Some((_, before)) = self.known.insert(conv, (version, members)) {
            self.count -= before.len() + 1;
        }
    }

    pub(super) fn get(&self, conv: ConvId, version: i64) -> Option<Members> {
        let (known, members) = self.known.get(&conv)?;
        (*known == version).then(|| members.clone())
    }
}

/// Reads the members of these conversations.
pub(super) async fn members_of(
    session: &Session,
    teams: &[(ConvId, i64)],
) -> Result<HashMap<ConvId, Vec<Uid>>, Failure> {
    let mut found = HashMap::<_, Vec<_>>::new();
    if teams.is_empty() {
        return Ok(found);
    }
    let convs: Vec<_> = teams.iter().map(|(conv, _)| uuid(*conv)).collect();
    for row in &session.query(MEMBERS, &[&convs]).await? {
        let mut row = Columns::of(row);
        let conv = row.conv()?;
        found.entry(conv).or_default().extend(row.uid()?);
    }
    Ok(found)
}

/// Reads a team.
pub(super) async fn read(session: &Session, team: &TeamId) -> Result<Option<Team>, Failure> {
    let rows = session.query(TEAM, &[&team.as_str()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut row = Columns::of(row);
    let (name, conv): (String, _) = (row.take()?, row.conv()?);
    let members = members_of(session, &[(conv, 0)])
        .await?
        .remove(&conv)
        .unwrap_or_default();
    Ok(Some(Team {
        team: team.clone(),
        name,
        conv,
        members: Arc::new(members),
    }))
}

/// Members of conversation `conv`, if it is a team's, after `after`, who were there when message `seq` was
/// written.
pub(super) async fn page(
    session: &Session,
    conv: ConvId,
    seq: Seq,
    after: Option<&Uid>,
    limit: u32,
) -> Result<Vec<Uid>, Failure> {
    let after = after.map_or("", Uid::as_str);
    let rows = session
        .query(PAGE, &[&uuid(conv), &after, &stored(seq.0), &i64::from(limit)])
        .await?;
    let mut page = Vec::with_capacity(rows.len());
    for row in &rows {
        page.extend(Columns::of(row).uid()?);
    }
    Ok(page)
}
