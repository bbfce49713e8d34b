//! Changes of teams, each in a transaction of its own: the rows of the members, and the messages 16 and 17
//! about the changes.
//!
//! Invariant: members change only while the conversation is locked, and its version grows with each change.

use std::sync::Arc;

use mynah_store::ids::{ConvId, TeamId, Uid};
use mynah_store::mids::Mids;
use mynah_store::{Members, StoreError, Team, TeamChange, TeamChanged, TeamNotice};
use serde::Serialize;
use serde_json::value::RawValue;

use super::batch::{Draft, is_in};
use super::failure::Failure;
use super::log::Log;
use super::rows::Moment;
use super::rules::Rules;
use super::session::Session;
use super::values::{stored, uuid};

/// S2C_TEAMMEMBER_ENTER.
const ENTER: u16 = 16;
/// S2C_TEAMMEMBER_LEAVE.
const LEAVE: u16 = 17;

const FIND: &str = "SELECT conv, name FROM teams WHERE team = $1";
const CREATE_CONVERSATION: &str =
    "INSERT INTO conversations (conv, kind, team, version) VALUES ($1, 5, $2, 1)";
const CREATE: &str = "INSERT INTO teams (team, name, conv) VALUES ($1, $2, $3)";
const RENAME: &str = "UPDATE teams SET name = $2 WHERE team = $1";
const DELETE: &str = "DELETE FROM teams WHERE team = $1";
const DELETE_JOBS: &str = "DELETE FROM push_jobs WHERE conv = $1 AND NOT dead";
const JOIN: &str = "INSERT INTO participants (uid, conv, member, floor, joined, read, read_counted)
     SELECT q.uid, $2, true, $3, $4, $4, $5 FROM unnest($1::text[]) AS q(uid)";
const RETURNED: &str = "DELETE FROM departures WHERE conv = $2 AND uid = ANY ($1::text[])";
/// Devices that become known later begin after the departure.
const DEPART: &str = "INSERT INTO departures (uid, conv, seq, message, floor, head)
     SELECT p.uid, p.conv, q.seq, q.message, p.floor, $5
     FROM unnest($1::text[], $3::bigint[], $4::bigint[]) AS q(uid, seq, message)
     JOIN participants p ON p.uid = q.uid AND p.conv = $2
     WHERE EXISTS (SELECT FROM devices v WHERE v.uid = q.uid)";
const LEAVE_SEATS: &str = "DELETE FROM participants WHERE conv = $2 AND uid = ANY ($1::text[])";

/// The version of a new team's members.
const FIRST_VERSION: i64 = 1;

/// Executes `order` in the transaction that has begun. Also returns the version of the members.
pub(super) async fn change(
    session: &Session,
    rules: &Rules,
    (moment, mids): (Moment, &mut Mids),
    team: &TeamId,
    order: &TeamChange,
) -> Result<(TeamChanged, i64), Failure> {
    let rows = session.query(FIND, &[&team.as_str()]).await?;
    let Some(row) = rows.first() else {
        return match order {
            TeamChange::Put { name, members } => Ok((
                create(session, rules, team, name, sorted(members)).await?,
                FIRST_VERSION,
            )),
            TeamChange::Add(_) | TeamChange::Remove(_) | TeamChange::Delete => {
                Err(StoreError::NotFound("team").into())
            }
        };
    };
    let conv = ConvId(row.try_get::<_, uuid::Uuid>(0)?.into_bytes());
    let plan = Plan::of(order);
    // The texts must live longer than `log`, which refers to them.
    let (name, told, before, after);
    let mut log = Log::lock(session, conv, (moment, mids))
        .await?
        .filter(|log| !log.head.closed)
        .ok_or(StoreError::NotFound("team"))?;
    // Read again, now that nobody else can change it.
    let rows = session.query(FIND, &[&team.as_str()]).await?;
    let row = rows.first().ok_or(StoreError::NotFound("team"))?;
    name = plan
        .name
        .map_or_else(|| row.try_get::<_, String>(1), |name| Ok(name.to_owned()))?;
    before = log.members(session).await?;
    let (left, entered) = plan.differences(&before);
    if !entered.is_empty() {
        check_size(rules, before.len() - left.len() + entered.len())?;
    }
    after = members_after(&before, &left, &entered);
    told = tell_all(team, &left, &entered)?;
    let floor = log.head.seq;
    if plan.name.is_some() {
        session.execute(RENAME, &[&team.as_str(), &name]).await?;
    }
    join(session, rules, &log, &entered).await?;
    let notices = told.iter().map(|(kind, uid, data)| {
        let written = log.write(Draft {
            kind: *kind,
            counts: false,
            from: None,
            cid: None,
            cid_hash: None,
            own: None,
            member_sent: None,
            data: data.get(),
        });
        TeamNotice {
            kind: *kind,
            uid: uid.clone(),
            data: data.clone(),
            seq: written.seq,
            mid: written.mid,
            ts: written.ts,
            numbers: written.numbers,
        }
    });
    let notices: Vec<_> = notices.collect();
    if !notices.is_empty() {
        log.head.version += 1;
    }
    log.head.closed = plan.deletes;
    log.save(session).await?;
    leave(session, &log, floor, &notices).await?;
    if plan.deletes {
        session.execute(DELETE, &[&team.as_str()]).await?;
        session.execute(DELETE_JOBS, &[&uuid(conv)]).await?;
    }
    let changed = TeamChanged {
        team: Team {
            team: team.clone(),
            name,
            conv,
            members: after,
        },
        created: false,
        notices,
    };
    Ok((changed, log.head.version))
}

/// The members that a change requests.
struct Plan<'a> {
    name: Option<&'a str>,
    /// All members from now on.
    all: Option<Vec<Uid>>,
    add: Vec<Uid>,
    remove: Vec<Uid>,
    deletes: bool,
}

impl<'a> Plan<'a> {
    fn of(order: &'a TeamChange) -> Self {
        let mut plan = Self {
            name: None,
            all: None,
            add: Vec::new(),
            remove: Vec::new(),
            deletes: false,
        };
        match order {
            TeamChange::Put { name, members } => {
                (plan.name, plan.all) = (Some(name.as_str()), Some(sorted(members)))
            }
            TeamChange::Add(uids) => plan.add = sorted(uids),
            TeamChange::Remove(uids) => plan.remove = sorted(uids),
            TeamChange::Delete => (plan.all, plan.deletes) = (Some(Vec::new()), true),
        }
        plan
    }

    /// The members who leave and who join.
    fn differences(&self, before: &Members) -> (Vec<Uid>, Vec<Uid>) {
        let without = |uids: &[Uid], these: &dyn Fn(&Uid) -> bool| -> Vec<Uid> {
            uids.iter().filter(|uid| !these(uid)).cloned().collect()
        };
        let is_member = |uid: &Uid| is_in(Some(before), uid);
        match &self.all {
            Some(all) => (
                without(&before[..], &|uid| all.binary_search(uid).is_ok()),
                without(all, &is_member),
            ),
            None => (
                without(&self.remove, &|uid| !is_member(uid)),
                without(&self.add, &is_member),
            ),
        }
    }
}

async fn create(
    session: &Session,
    rules: &Rules,
    team: &TeamId,
    name: &str,
    members: Vec<Uid>,
) -> Result<TeamChanged, Failure> {
    check_size(rules, members.len())?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let conv = ConvId(id);
    // If another node creates the same team at this moment, one of the two transactions fails here and is
    // repeated.
    session
        .execute(CREATE, &[&team.as_str(), &name, &uuid(conv)])
        .await?;
    session
        .execute(CREATE_CONVERSATION, &[&uuid(conv), &team.as_str()])
        .await?;
    let uids: Vec<_> = members.iter().map(Uid::as_str).collect();
    session
        .execute(JOIN, &[&uids, &uuid(conv), &0i64, &0i64, &0i64])
        .await?;
    Ok(TeamChanged {
        team: Team {
            team: team.clone(),
            name: name.to_owned(),
            conv,
            members: Arc::new(members),
        },
        created: true,
        notices: Vec::new(),
    })
}

/// Creates the rows of new members. They see messages after the present head, or all messages; earlier ones
/// count as read.
async fn join(session: &Session, rules: &Rules, log: &Log<'_>, entered: &[Uid]) -> Result<(), Failure> {
    if entered.is_empty() {
        return Ok(());
    }
    let uids: Vec<_> = entered.iter().map(Uid::as_str).collect();
    let head = stored(log.head.seq);
    let floor = if rules.new_members_see_all { 0 } else { head };
    session.execute(RETURNED, &[&uids, &uuid(log.conv)]).await?;
    session
        .execute(
            JOIN,
            &[&uids, &uuid(log.conv), &floor, &head, &stored(log.head.counted)],
        )
        .await?;
    Ok(())
}

/// Removes the members about whom messages 17 were written; `head` was the head before these.
async fn leave(session: &Session, log: &Log<'_>, head: u64, notices: &[TeamNotice]) -> Result<(), Failure> {
    let left: Vec<_> = notices.iter().filter(|notice| notice.kind == LEAVE).collect();
    if left.is_empty() {
        return Ok(());
    }
    let uids: Vec<_> = left.iter().map(|notice| notice.uid.as_str()).collect();
    let seqs: Vec<_> = left.iter().map(|notice| stored(notice.seq.0)).collect();
    let rows: Vec<_> = left.iter().map(|notice| log.row(notice.seq)).collect();
    let conv = uuid(log.conv);
    session
        .execute(DEPART, &[&uids, &conv, &seqs, &rows, &stored(head)])
        .await?;
    session.execute(LEAVE_SEATS, &[&uids, &conv]).await?;
    Ok(())
}

/// The messages about a change: first those about members who leave, then those about members who join.
fn tell_all(team: &TeamId, left: &[Uid], entered: &[Uid]) -> Result<Vec<(u16, Uid, Arc<RawValue>)>, Failure> {
    #[derive(Serialize)]
    struct Data<'a> {
        team: &'a TeamId,
        uid: &'a Uid,
    }
    let all = left
        .iter()
        .map(|uid| (LEAVE, uid))
        .chain(entered.iter().map(|uid| (ENTER, uid)));
    let told = all.map(|(kind, uid)| {
        let data = serde_json::value::to_raw_value(&Data { team, uid })
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok((kind, uid.clone(), Arc::from(data)))
    });
    told.collect()
}

fn members_after(before: &Members, left: &[Uid], entered: &[Uid]) -> Members {
    let mut members: Vec<_> = before
        .iter()
        .filter(|uid| left.binary_search(uid).is_err())
        .cloned()
        .collect();
    members.extend_from_slice(entered);
    members.sort();
    Arc::new(members)
}

fn check_size(rules: &Rules, members: usize) -> Result<(), StoreError> {
    let max = rules.max_members;
    if members > max {
        return Err(StoreError::too_many_members(max));
    }
    Ok(())
}

fn sorted(uids: &[Uid]) -> Vec<Uid> {
    let mut uids = uids.to_vec();
    uids.sort_unstable();
    uids.dedup();
    uids
}
