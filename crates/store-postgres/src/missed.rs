//! Finds what a device has missed. The cost grows with what it has missed or its user has not read, with the
//! number of the user's teams, and with what has happened since the device last had everything; not with the
//! number of the user's conversations.
//!
//! Invariant: one transaction sees all of it at one moment.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mynah_store::{Device, Missed, Position, Stretch};

use super::conversations::{
    Cursors, OF_TEAMS, PAIRS, Rank, TOP, UNREAD_PAIRS, position, positions, unread_of_pairs,
};
use super::failure::Failure;
use super::rows::Moment;
use super::session::Session;
use super::values::Columns;

/// If more conversations than this had to be examined, the row up to which the device has everything is
/// stored. The number is small in tests of this crate.
const LONG_WALK: usize = if cfg!(test) { 2 } else { 256 };
/// The number of conversations that are examined together.
const STEP: usize = 256;

/// The teams that a user has left, after a row. The message after which a departure shows the conversation is
/// its own kind 17 if the team was deleted.
const DEPARTURES: &str = "SELECT x.message, c.made, c.conv, x.seq, least(x.seq, greatest(coalesce(
         (SELECT k.seq FROM cursors k WHERE k.device_id = $2 AND k.conv = x.conv),
         CASE WHEN x.message <= $3 THEN x.seq ELSE head_then(x.conv, x.seq, $3) END),
         CASE WHEN c.closed THEN x.seq - 1 ELSE greatest(x.floor, c.gone) END)), x.seq, 0::bigint
     FROM departures x JOIN conversations c ON c.conv = x.conv
     WHERE x.uid = $1 AND x.message > $4 ORDER BY x.message DESC, x.seq DESC";

const NEWEST: &str = "SELECT coalesce(max(id), 0) FROM messages";

/// The device has everything in its user's pairs and notices, and in the teams that its user has left, up to
/// this row, which is worth remembering.
pub(super) type Had = Option<i64>;

/// Returns what a known device has missed. An unknown device has missed nothing.
pub(super) async fn missed(
    session: &Session,
    base: i64,
    device: &Device,
    most_conversations: usize,
    most_behind: usize,
) -> Result<(Missed, Had), Failure> {
    session
        .run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let found = find(session, base, device, most_conversations, most_behind).await;
    session.run("COMMIT").await?;
    found
}

async fn find(
    session: &Session,
    base: i64,
    device: &Device,
    most_conversations: usize,
    most_behind: usize,
) -> Result<(Missed, Had), Failure> {
    let uid = &device.uid;
    let moment = Moment::read(session, base).await?;
    let cursors = Cursors::of(session, uid, Some(&device.device)).await?;
    let mut concerned: BTreeMap<Reverse<Rank>, Position> = BTreeMap::new();
    let mut total = unread_of_pairs(session, uid).await?;
    let values: [super::session::Value<'_>; 3] = [&uid.as_str(), &cursors.device, &cursors.since];
    for row in &session.query(OF_TEAMS, &values).await? {
        let (rank, position) = position(&mut Columns::of(row))?;
        total += position.unread;
        if position.unread > 0 || is_behind(&position) {
            concerned.insert(Reverse(rank), position);
        }
    }
    let who = (uid, &cursors);
    for (rank, position) in positions(session, UNREAD_PAIRS, who, (TOP, 0), most_conversations + 1).await? {
        concerned.insert(Reverse(rank), position);
    }
    let mut walked = Walk::default();
    let mut departed = Vec::new();
    if cursors.is_known() {
        // One more than requested shows that there are more.
        let most = most_conversations.max(most_behind) + 1;
        walked = walk(session, who, most, &mut concerned).await?;
        let values: [super::session::Value<'_>; 4] =
            [&uid.as_str(), &cursors.device, &cursors.since, &cursors.had];
        for row in &session.query(DEPARTURES, &values).await? {
            departed.push(position(&mut Columns::of(row))?);
        }
    }
    let behind = concerned.values().filter(|position| is_behind(position));
    let pending = behind.clone().map(|it| it.head.0 - it.cursor.0).sum();
    let behind = behind.take(most_behind).map(stretch).collect();
    let mut left = Vec::new();
    for (rank, position) in departed {
        let is_behind = is_behind(&position);
        walked.looked(rank.0, is_behind);
        if is_behind {
            left.push(stretch(&position));
            concerned.insert(Reverse(rank), position);
        }
    }
    let missed = Missed {
        unread: total,
        pending,
        behind,
        left,
        more: concerned.len() > most_conversations,
        conversations: concerned.into_values().take(most_conversations).collect(),
    };
    let had = match walked.had(moment.floor) {
        None => None,
        // After a crash of PostgreSQL, only numbers up to a durable message are not used again (`follow.rs`).
        Some(had) => {
            let newest = session.query(NEWEST, &[]).await?;
            let newest = newest.first().ok_or(Failure::Defect("no row"))?;
            Some(had.min(newest.try_get(0)?))
        }
    };
    Ok((missed, had))
}

fn is_behind(position: &Position) -> bool {
    position.cursor < position.head
}

fn stretch(position: &Position) -> Stretch {
    Stretch {
        conv: position.conv,
        after: position.cursor,
        through: position.head,
    }
}

/// What was examined to find where a device is behind, in pairs, notices, and teams that its user has left.
#[derive(Default)]
struct Walk {
    conversations: usize,
    /// The newest row of the oldest conversation in which the device is behind.
    oldest: Option<i64>,
    /// Whether the walk ended early, because enough was found.
    is_cut: bool,
}

impl Walk {
    /// Records an examined conversation whose newest row is `row`.
    fn looked(&mut self, row: i64, is_behind: bool) {
        self.conversations += 1;
        if is_behind {
            self.oldest = Some(self.oldest.map_or(row, |oldest| oldest.min(row)));
        }
    }

    /// Returns up to where the device has everything, if the walk was so long that the next one should begin
    /// there. Messages of transactions that were running have rows after `floor`.
    fn had(&self, floor: i64) -> Had {
        if self.conversations <= LONG_WALK || self.is_cut {
            return None;
        }
        Some(self.oldest.map_or(floor, |row| floor.min(row - 1)))
    }
}

/// Adds the newest `most` pairs and notices in which the device is behind.
async fn walk(
    session: &Session,
    who: (&mynah_store::ids::Uid, &Cursors),
    most: usize,
    concerned: &mut BTreeMap<Reverse<Rank>, Position>,
) -> Result<Walk, Failure> {
    let mut walked = Walk::default();
    let (mut behind, mut after) = (0, TOP);
    loop {
        let step = positions(session, PAIRS, who, (after, who.1.had), STEP).await?;
        let is_end = step.len() < STEP;
        for (rank, position) in step {
            after = rank;
            let is_behind = is_behind(&position);
            walked.looked(rank.0, is_behind);
            if is_behind {
                concerned.insert(Reverse(rank), position);
                behind += 1;
                if behind == most {
                    walked.is_cut = true;
                    return Ok(walked);
                }
            }
        }
        if is_end {
            return Ok(walked);
        }
    }
}
