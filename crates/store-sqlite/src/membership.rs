//! Changes of teams, in the writer's transaction: the rows of members, and the messages 16 and 17 about the
//! changes.

use std::sync::Arc;

use mynah_store::ids::{ConvId, TeamId, Uid};
use mynah_store::{ConvKind, StoreError, Team, TeamChange, TeamChanged, TeamNotice};
use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::append::is_in;
use super::deleted_teams;
use super::departures;
use super::failure::Failure;
use super::heads::Head;
use super::log::{self, Draft};
use super::state::State;
use super::teams::TeamState;
use super::tx::Tx;

/// S2C_TEAMMEMBER_ENTER.
const ENTER: u16 = 16;
/// S2C_TEAMMEMBER_LEAVE.
const LEAVE: u16 = 17;

/// Executes `order`.
pub(super) fn change(tx: &mut Tx<'_>, team: &TeamId, order: &TeamChange) -> Result<TeamChanged, Failure> {
    let Some(before) = tx.state.teams.find(tx.db, team)? else {
        return match order {
            TeamChange::Put { name, members } => create(tx, team, name, sorted(members)),
            TeamChange::Add(_) | TeamChange::Remove(_) | TeamChange::Delete => {
                Err(StoreError::NotFound("team").into())
            }
        };
    };
    let is_member = |uid: &Uid| is_in(Some(&before.members), uid);
    let difference = match order {
        TeamChange::Put { name, members } => {
            let members = sorted(members);
            let stays = |uid: &&Uid| members.binary_search(uid).is_ok();
            Difference {
                name: Some(name),
                left: before.members.iter().filter(|uid| !stays(uid)).cloned().collect(),
                entered: without(members, is_member),
            }
        }
        TeamChange::Add(uids) => Difference {
            entered: without(sorted(uids), is_member),
            ..Difference::default()
        },
        TeamChange::Remove(uids) => Difference {
            left: without(sorted(uids), |uid| !is_member(uid)),
            ..Difference::default()
        },
        TeamChange::Delete => return delete(tx, team, before),
    };
    replace(tx, team, before, &difference)
}

/// How a team becomes different; the uids are sorted.
#[derive(Default)]
struct Difference<'a> {
    name: Option<&'a str>,
    left: Vec<Uid>,
    entered: Vec<Uid>,
}

fn create(tx: &mut Tx<'_>, team: &TeamId, name: &str, members: Vec<Uid>) -> Result<TeamChanged, Failure> {
    check_size(tx.state, members.len())?;
    let mut id = [0; 16];
    (tx.state.options.random)(&mut id).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let conv = ConvId(id);
    let conv_id = head(tx, conv, team)?.id;
    tx.db
        .prepare_cached("INSERT INTO teams (team, name, conv_id) VALUES (?1, ?2, ?3)")?
        .execute(params![team.as_str(), name, conv_id])?;
    join(tx, conv, &members)?;
    let after = TeamState {
        conv,
        conv_id,
        name: name.into(),
        members: Arc::new(members),
    };
    tx.state.teams.remember(team, after.clone());
    Ok(TeamChanged {
        team: shown(team, after),
        created: true,
        notices: Vec::new(),
    })
}

fn replace(
    tx: &mut Tx<'_>,
    team: &TeamId,
    before: TeamState,
    Difference { name, left, entered }: &Difference<'_>,
) -> Result<TeamChanged, Failure> {
    if !entered.is_empty() {
        check_size(tx.state, before.members.len() - left.len() + entered.len())?;
    }
    let mut after = before.clone();
    if let Some(name) = name.filter(|name| **name != *before.name) {
        tx.db
            .prepare_cached("UPDATE teams SET name = ?2 WHERE team = ?1")?
            .execute([team.as_str(), name])?;
        after.name = name.into();
    }
    let mut notices = Vec::new();
    if !left.is_empty() || !entered.is_empty() {
        let mut leaving = left.iter().peekable();
        // Both are sorted, and users who leave are members.
        let stays = |uid: &&Uid| leaving.next_if_eq(uid).is_none();
        let mut members: Vec<_> = before.members.iter().filter(stays).cloned().collect();
        members.extend_from_slice(entered);
        // The list consists of two sorted runs, which this sort merges quickly.
        members.sort();
        after.members = Arc::new(members);
        let head = head(tx, before.conv, team)?.seq;
        join(tx, before.conv, entered)?;
        let told = left
            .iter()
            .map(|uid| (LEAVE, uid))
            .chain(entered.iter().map(|uid| (ENTER, uid)));
        for (kind, uid) in told {
            notices.push(tell(tx, before.conv, team, kind, uid)?);
        }
        leave(tx.db, before.conv_id, head, &notices)?;
    }
    tx.state.teams.remember(team, after.clone());
    Ok(TeamChanged {
        team: shown(team, after),
        created: false,
        notices,
    })
}

fn delete(tx: &mut Tx<'_>, team: &TeamId, before: TeamState) -> Result<TeamChanged, Failure> {
    let head = head(tx, before.conv, team)?.seq;
    // Each member gets the same message as a member who was removed.
    let mut notices = Vec::with_capacity(before.members.len());
    for uid in before.members.iter() {
        notices.push(tell(tx, before.conv, team, LEAVE, uid)?);
    }
    tx.state.heads.edit(before.conv).closed = true;
    deleted_teams::note(tx.db, before.conv_id)?;
    tx.state.team_was_deleted = true;
    tx.db
        .prepare_cached("DELETE FROM teams WHERE team = ?1")?
        .execute([team.as_str()])?;
    leave(tx.db, before.conv_id, head, &notices)?;
    // Nobody may be notified of messages that nobody may read.
    for jobs in [
        "push_jobs_of_team WHERE uid IS NULL",
        "push_jobs_of_members WHERE uid IS NOT NULL",
    ] {
        let sql = format!("DELETE FROM push_jobs INDEXED BY {jobs} AND dead = 0 AND conv_id = ?1");
        tx.db.prepare_cached(&sql)?.execute([before.conv_id])?;
    }
    tx.state.teams.known.remove(team);
    let after = TeamState {
        members: Arc::default(),
        ..before
    };
    Ok(TeamChanged {
        team: shown(team, after),
        created: false,
        notices,
    })
}

/// Returns the conversation of a team, which is created if it does not exist.
fn head<'a>(tx: &'a mut Tx<'_>, conv: ConvId, team: &TeamId) -> rusqlite::Result<&'a mut Head> {
    tx.state.heads.find(tx.db, conv, || ConvKind::Team(team.clone()))
}

/// Creates the rows of new members. They see messages after the present head of the conversation, or all
/// messages; earlier ones count as read.
fn join(tx: &mut Tx<'_>, conv: ConvId, uids: &[Uid]) -> rusqlite::Result<()> {
    let sees_all = tx.state.options.new_members_see_all;
    let head = tx.state.heads.edit(conv);
    for uid in uids {
        departures::forget(tx.db, uid, head.id)?;
    }
    let mut insert = tx.db.prepare_cached(
        "INSERT INTO participants (uid, conv_id, member, floor, joined, read, read_counted)
         VALUES (?1, ?2, 1, ?3, ?4, ?4, ?5)",
    )?;
    for uid in uids {
        insert.execute(params![
            uid.as_str(),
            head.id,
            if sees_all { 0 } else { head.seq },
            head.seq,
            head.counted
        ])?;
    }
    Ok(())
}

/// Removes the members whose departure was announced by `notices`. `head` was the head before these messages.
fn leave(db: &Connection, conv_id: i64, head: u64, notices: &[TeamNotice]) -> rusqlite::Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM participants WHERE uid = ?1 AND conv_id = ?2")?;
    for notice in notices.iter().filter(|notice| notice.kind == LEAVE) {
        departures::note(db, notice, conv_id, head)?;
        delete.execute(params![notice.uid.as_str(), conv_id])?;
    }
    Ok(())
}

/// Writes a message of kind 16 or 17.
fn tell(tx: &mut Tx<'_>, conv: ConvId, team: &TeamId, kind: u16, uid: &Uid) -> Result<TeamNotice, Failure> {
    #[derive(Serialize)]
    struct Data<'a> {
        team: &'a TeamId,
        uid: &'a Uid,
    }
    let data = serde_json::value::to_raw_value(&Data { team, uid })
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let draft = Draft {
        kind,
        data: data.get(),
        ..Draft::default()
    };
    let written = log::write(tx, conv, &draft)?;
    let data: Arc<RawValue> = data.into();
    Ok(TeamNotice {
        kind,
        uid: uid.clone(),
        data,
        seq: written.seq,
        mid: written.mid,
        ts: written.ts,
        numbers: None,
    })
}

fn check_size(state: &State, members: usize) -> Result<(), StoreError> {
    let max = state.options.max_members;
    if members > max {
        return Err(StoreError::too_many_members(max));
    }
    Ok(())
}

/// Returns the team for callers of the store.
pub(super) fn shown(team: &TeamId, state: TeamState) -> Team {
    Team {
        team: team.clone(),
        name: state.name.to_string(),
        conv: state.conv,
        members: state.members,
    }
}

fn sorted(uids: &[Uid]) -> Vec<Uid> {
    let mut uids = uids.to_vec();
    uids.sort_unstable();
    uids.dedup();
    uids
}

fn without(mut uids: Vec<Uid>, these: impl Fn(&Uid) -> bool) -> Vec<Uid> {
    uids.retain(|uid| !these(uid));
    uids
}
