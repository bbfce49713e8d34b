//! Changes to teams, inside the writer's transaction: the members' rows, and the messages 16 and 17 that tell of them.

use std::sync::Arc;

use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::append::{self, Draft, is_in};
use super::failure::Failure;
use super::state::State;
use super::teams::TeamState;
use crate::ids::{ConvId, TeamId, Uid};
use crate::store::{ConvKind, Members, StoreError, Team, TeamChange, TeamChanged, TeamNotice, UnixMillis};

/// S2C_TEAMMEMBER_ENTER.
const ENTER: u16 = 16;
/// S2C_TEAMMEMBER_LEAVE.
const LEAVE: u16 = 17;

/// Does what `order` says.
pub(super) fn change(
    db: &Connection,
    state: &mut State,
    now: UnixMillis,
    team: &TeamId,
    order: &TeamChange,
) -> Result<TeamChanged, Failure> {
    let before = state.teams.find(db, team)?;
    let missing = StoreError::NotFound("team");
    match (order, before) {
        (TeamChange::Put { name, members }, None) => create(db, state, team, name, sorted(members)),
        (TeamChange::Put { name, members }, Some(before)) => {
            replace(db, state, now, team, before, Some(name), sorted(members))
        }
        (TeamChange::Add(uids), Some(before)) => {
            let members = before.members.iter().chain(uids).cloned();
            let members = sorted_owned(members.collect());
            replace(db, state, now, team, before, None, members)
        }
        (TeamChange::Remove(uids), Some(before)) => {
            let leaving = sorted(uids);
            let stays = |uid: &&Uid| leaving.binary_search(uid).is_err();
            let members = before.members.iter().filter(stays).cloned().collect();
            replace(db, state, now, team, before, None, members)
        }
        (TeamChange::Delete, Some(before)) => delete(db, state, team, before),
        (TeamChange::Add(_) | TeamChange::Remove(_) | TeamChange::Delete, None) => Err(missing.into()),
    }
}

fn create(
    db: &Connection,
    state: &mut State,
    team: &TeamId,
    name: &str,
    members: Vec<Uid>,
) -> Result<TeamChanged, Failure> {
    check_size(state, &members)?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let conv = ConvId(id);
    let conv_id = state.heads.find(db, conv, || ConvKind::Team(team.clone()))?.id;
    db.prepare_cached("INSERT INTO teams (team, name, conv_id) VALUES (?1, ?2, ?3)")?
        .execute(params![team.as_str(), name, conv_id])?;
    join(db, state, conv, &members)?;
    let after = TeamState {
        conv,
        conv_id,
        name: name.into(),
        members: Arc::new(members),
    };
    state.teams.remember(team, after.clone());
    Ok(TeamChanged {
        team: shown(team, after),
        created: true,
        notices: Vec::new(),
    })
}

fn replace(
    db: &Connection,
    state: &mut State,
    now: UnixMillis,
    team: &TeamId,
    before: TeamState,
    name: Option<&str>,
    members: Vec<Uid>,
) -> Result<TeamChanged, Failure> {
    check_size(state, &members)?;
    let mut after = before.clone();
    if let Some(name) = name.filter(|name| **name != *before.name) {
        db.prepare_cached("UPDATE teams SET name = ?2 WHERE team = ?1")?
            .execute([team.as_str(), name])?;
        after.name = name.into();
    }
    let mut notices = Vec::new();
    if members != *before.members {
        after.members = Arc::new(members);
        let left = missing_in(&before.members, &after.members);
        let entered = missing_in(&after.members, &before.members);
        state
            .heads
            .find(db, before.conv, || ConvKind::Team(team.clone()))?;
        leave(db, before.conv_id, &left)?;
        join(db, state, before.conv, &entered)?;
        let told = left
            .iter()
            .map(|uid| (LEAVE, uid))
            .chain(entered.iter().map(|uid| (ENTER, uid)));
        for (kind, uid) in told {
            notices.push(tell(db, state, now, before.conv, team, kind, uid)?);
        }
    }
    state.teams.remember(team, after.clone());
    Ok(TeamChanged {
        team: shown(team, after),
        created: false,
        notices,
    })
}

fn delete(
    db: &Connection,
    state: &mut State,
    team: &TeamId,
    before: TeamState,
) -> Result<TeamChanged, Failure> {
    state
        .heads
        .find(db, before.conv, || ConvKind::Team(team.clone()))?;
    state.heads.edit(before.conv).closed = true;
    db.prepare_cached("DELETE FROM teams WHERE team = ?1")?
        .execute([team.as_str()])?;
    db.prepare_cached("DELETE FROM participants WHERE conv_id = ?1 AND member = 1")?
        .execute([before.conv_id])?;
    // Nobody is told any more of what nobody may read.
    db.prepare_cached(
        "DELETE FROM push_jobs
         WHERE dead = 0 AND (SELECT conv_id FROM messages WHERE messages.id = push_jobs.message) = ?1",
    )?
    .execute([before.conv_id])?;
    state.teams.remove(team);
    Ok(TeamChanged {
        team: shown(team, before),
        created: false,
        notices: Vec::new(),
    })
}

/// Gives new members their rows: they see what comes after the conversation's present head.
fn join(db: &Connection, state: &mut State, conv: ConvId, uids: &[Uid]) -> rusqlite::Result<()> {
    let head = state.heads.edit(conv);
    let mut insert = db.prepare_cached(
        "INSERT INTO participants (uid, conv_id, member, floor, read, read_counted) VALUES (?1, ?2, 1, ?3, ?3, ?4)",
    )?;
    for uid in uids {
        insert.execute(params![
            uid.as_str(),
            head.id,
            head.seq as i64,
            head.counted as i64
        ])?;
    }
    Ok(())
}

fn leave(db: &Connection, conv_id: i64, uids: &[Uid]) -> rusqlite::Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM participants WHERE uid = ?1 AND conv_id = ?2")?;
    for uid in uids {
        delete.execute(params![uid.as_str(), conv_id])?;
    }
    Ok(())
}

/// Writes a 16 or 17.
fn tell(
    db: &Connection,
    state: &mut State,
    now: UnixMillis,
    conv: ConvId,
    team: &TeamId,
    kind: u16,
    uid: &Uid,
) -> Result<TeamNotice, Failure> {
    #[derive(Serialize)]
    struct Data<'a> {
        team: &'a TeamId,
        uid: &'a Uid,
    }
    let data = serde_json::value::to_raw_value(&Data { team, uid })
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let draft = Draft {
        kind,
        counts: false,
        from: None,
        cid: None,
        own: None,
        member_sent: None,
        data: data.get(),
    };
    let written = append::write(db, state, conv, now, &draft)?;
    let data: Arc<RawValue> = data.into();
    Ok(TeamNotice {
        kind,
        uid: uid.clone(),
        data,
        seq: written.seq,
        mid: written.mid,
        ts: written.ts,
    })
}

fn check_size(state: &State, members: &[Uid]) -> Result<(), StoreError> {
    let max = state.rules.max_members;
    if members.len() > max {
        return Err(StoreError::TooLarge(format!(
            "a team has at most {max} members; make several teams"
        )));
    }
    Ok(())
}

pub(super) fn shown(team: &TeamId, state: TeamState) -> Team {
    Team {
        team: team.clone(),
        name: state.name.to_string(),
        conv: state.conv,
        members: state.members,
    }
}

/// Those of `these` that are not among `those`.
fn missing_in(these: &Members, those: &Members) -> Vec<Uid> {
    these
        .iter()
        .filter(|uid| !is_in(Some(those), uid))
        .cloned()
        .collect()
}

fn sorted(uids: &[Uid]) -> Vec<Uid> {
    sorted_owned(uids.to_vec())
}

fn sorted_owned(mut uids: Vec<Uid>) -> Vec<Uid> {
    uids.sort_unstable();
    uids.dedup();
    uids
}
