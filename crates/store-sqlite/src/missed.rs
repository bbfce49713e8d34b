//! Finds what a device has missed. The cost grows with what the device has missed or its user has not read,
//! with the number of the user's teams, and with what has happened since the device last had everything. It
//! does not grow with the number of the user's conversations.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mynah_store::ids::Uid;
use mynah_store::{Device, Message, Missed, Page, Position, Stretch};
use rusqlite::{Connection, params};

use super::columns::number;
use super::conversations::{self, Cursors, Part, Rank, Which};
use super::departures;
use super::history::{Filling, MESSAGE_COLUMNS};
use super::totals;

/// If more conversations than this had to be looked at, the position up to which the device has everything is
/// stored. The number is small in tests.
const LONG_WALK: usize = if cfg!(any(test, fuzzing, feature = "stepped")) {
    2
} else {
    256
};

/// A `messages.id` up to which the device has everything in its user's pairs and notices, and in the teams
/// that its user has left; `None` if it is not worth storing.
pub(super) type Had = Option<i64>;

/// Returns what a known device has missed. An unknown device has missed nothing.
pub(super) fn missed(
    db: &Connection,
    device: &Device,
    most_conversations: usize,
    most_behind: usize,
) -> rusqlite::Result<(Missed, Had)> {
    let uid = &device.uid;
    let cursors = Cursors::of(db, uid, Some(&device.device))?;
    let mut concerned: BTreeMap<Reverse<Rank>, Position> = BTreeMap::new();
    let is_concerned = |position: &Position| position.unread > 0 || is_behind(position);
    let mut total = totals::total(db, uid)?;
    conversations::of_teams(db, uid, &cursors, |rank, position| {
        total += position.unread;
        if is_concerned(&position) {
            concerned.insert(Reverse(rank), position);
        }
    })?;
    let mut looked = 0;
    conversations::newest(db, uid, Part::all(Which::UnreadPairs), |rank| {
        let position = conversations::position_of(db, uid, &cursors, rank.1)?;
        concerned.insert(Reverse(rank), position);
        looked += 1;
        Ok(looked <= most_conversations)
    })?;
    let mut walked = Walk::default();
    let mut departed = Vec::new();
    if let Cursors::Of(known) = &cursors {
        let since = known.had_row;
        // One more than requested shows that there are more.
        let most = most_conversations.max(most_behind) + 1;
        let found = walk(db, uid, &cursors, since, most)?;
        walked = found.0;
        concerned.extend(
            found
                .1
                .into_iter()
                .map(|(rank, position)| (Reverse(rank), position)),
        );
        departed = departures::after(db, uid, &cursors, since)?;
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
    Ok((missed, walked.had(db)?))
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

    /// Returns the position up to which the device has everything, if the walk was so long that the next one
    /// should begin there.
    fn had(&self, db: &Connection) -> rusqlite::Result<Had> {
        if self.conversations <= LONG_WALK || self.is_cut {
            return Ok(None);
        }
        match self.oldest {
            Some(row) => Ok(Some(row - 1)),
            None => db
                .prepare_cached("SELECT max(id) FROM messages")?
                .query_row([], |row| row.get(0)),
        }
    }
}

/// Returns the newest `most` pairs and notices in which the device is behind.
fn walk(
    db: &Connection,
    uid: &Uid,
    cursors: &Cursors,
    since: i64,
    most: usize,
) -> rusqlite::Result<(Walk, Vec<(Rank, Position)>)> {
    let mut walked = Walk::default();
    let mut behind = Vec::new();
    conversations::newest(
        db,
        uid,
        Part {
            since,
            ..Part::all(Which::Pairs)
        },
        |rank| {
            let position = conversations::position_of(db, uid, cursors, rank.1)?;
            let is_behind = is_behind(&position);
            walked.looked(rank.0, is_behind);
            if is_behind {
                behind.push((rank, position));
            }
            Ok(behind.len() < most)
        },
    )?;
    walked.is_cut = behind.len() == most;
    Ok((walked, behind))
}

/// Returns the messages of these stretches that `uid` may see, in order, until the page is full.
pub(super) fn replay(
    db: &Connection,
    uid: &Uid,
    stretches: &[Stretch],
    page: Page,
) -> rusqlite::Result<Vec<Message>> {
    let mut of_member = db.prepare_cached(&format!(
        "SELECT {MESSAGE_COLUMNS} FROM conversations c CROSS JOIN participants p CROSS JOIN messages m
         WHERE c.conv = ?1 AND c.closed = 0 AND p.uid = ?2 AND p.conv_id = c.id
             AND m.conv_id = c.id AND m.seq > max(?3, p.floor) AND m.seq <= ?4
         ORDER BY m.seq",
    ))?;
    let mut of_departed = None;
    let mut found = Filling::new(page);
    for stretch in stretches {
        let before = found.messages.len();
        let asked = params![
            stretch.conv.0,
            uid.as_str(),
            number(stretch.after.0),
            number(stretch.through.0)
        ];
        let mut is_full = found.take(of_member.query(asked)?)?;
        // The user is in the conversation or has left it, so that only one of the two queries finds anything.
        if !is_full && found.messages.len() == before {
            let select = match &mut of_departed {
                Some(select) => select,
                none => none.insert(db.prepare_cached(&departures::replay_sql())?),
            };
            is_full = found.take(select.query(asked)?)?;
        }
        if is_full {
            break;
        }
    }
    Ok(found.messages)
}
