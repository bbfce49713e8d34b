//! Reads what a batch needs: first the heads, which stay locked until the commit, then what belongs to them.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::future::{try_join3, try_join5};
use mynah_store::ids::{Cid, ConvId, DeviceId, Mid, Uid};
use mynah_store::mids::Mids;
use mynah_store::{Append, ConvKind, Device, Place as To, UnixMillis};
use tokio_postgres::Row;
use uuid::Uuid;

use super::append::{hash, pair_or_notices};
use super::sorted::Sorted;
use super::state::{AtMessage, Batch, Earlier, Head, Inside, Known, Seat};
use crate::age::Age;
use crate::failure::Failure;
use crate::rows::{MOMENT, Moment};
use crate::rules::Rules;
use crate::session::{Session, Value};
use crate::teams::{MEMBERS, MembersCache, members_of};
use crate::unread::{own_at, own_before};
use crate::values::{Columns, kind_columns, stored, uuid};

/// The statements of this file and those that are sent together with them.
pub(crate) const LOAD: &[&str] = &[MOMENT, LOCK, PLACES, CIDS, AT_MESSAGES, BEGUN, MEMBERS];

/// Locks conversations, in the order of their ids.
const LOCK: &str = concat!(
    "SELECT c.conv, ",
    kind_columns!(),
    ", c.head, c.last_row, c.ts, c.counted, c.sent_a, c.sent_b, c.unread_a, c.unread_b, c.closed, c.version, c.last_mid
     FROM conversations c
     WHERE c.conv IN (SELECT unnest($1::uuid[]) UNION SELECT t.conv FROM teams t WHERE t.team = ANY ($2::text[]))
     ORDER BY c.conv FOR NO KEY UPDATE OF c"
);

/// The positions of users and their devices in conversations. Without a device, its columns are null.
const PLACES: &str = concat!(
    "SELECT q.n, c.head, p.uid IS NOT NULL, greatest(p.floor, c.gone), greatest(p.read, c.gone), coalesce(p.sent, 0), x.seq,
         CASE WHEN c.closed THEN x.seq - 1 ELSE greatest(x.floor, c.gone) END, v.id, v.seen,
         CASE
             WHEN v.id IS NULL OR c.conv IS NULL THEN NULL
             WHEN k.seq IS NOT NULL THEN k.seq
             WHEN p.uid IS NOT NULL THEN
                 CASE WHEN c.last_row <= v.since THEN c.head ELSE head_then(c.conv, c.head, v.since) END
             WHEN x.uid IS NOT NULL THEN
                 CASE WHEN x.message <= v.since THEN x.seq ELSE head_then(c.conv, x.seq, v.since) END
         END, ",
    kind_columns!(),
    " FROM unnest($1::text[], $2::text[], $3::uuid[]) WITH ORDINALITY AS q(uid, device, conv, n)
     LEFT JOIN conversations c ON c.conv = q.conv
     LEFT JOIN participants p ON p.uid = q.uid AND p.conv = c.conv AND NOT c.closed
     LEFT JOIN departures x ON x.uid = q.uid AND x.conv = c.conv
     LEFT JOIN devices v ON v.uid = q.uid AND v.device = q.device
     LEFT JOIN cursors k ON k.device_id = v.id AND k.conv = q.conv"
);

/// Messages with the same hash of sender and cid.
const CIDS: &str = "SELECT m.conv, m.cid_hash, m.seq, m.id, m.mid, m.ts, m.sender, m.cid
     FROM unnest($1::uuid[], $2::bigint[]) AS q(conv, hash) JOIN messages m ON m.conv = q.conv AND m.cid_hash = q.hash";

/// The running values of conversations at messages, for their readers.
const AT_MESSAGES: &str = concat!(
    "SELECT q.n, m.counted, ",
    own_at!(),
    ", CASE WHEN c.recalls = 0 THEN 0 ELSE (SELECT count(*) FROM recalls r
         WHERE r.conv = c.conv AND r.seq > m.seq AND r.sender IS DISTINCT FROM p.uid) END
     FROM unnest($1::text[], $2::uuid[], $3::bigint[]) WITH ORDINALITY AS q(uid, conv, seq, n)
     JOIN conversations c ON c.conv = q.conv
     JOIN participants p ON p.uid = q.uid AND p.conv = q.conv
     JOIN messages m ON m.conv = q.conv AND m.seq = q.seq"
);

/// The number of pair conversations that users have begun since a time.
const BEGUN: &str =
    "SELECT b.uid, count(*) FROM begun b WHERE b.uid = ANY ($1::text[]) AND b.at > $2 GROUP BY b.uid";
const HOUR_MS: u64 = 3_600_000;

/// Begins the transaction and reads what `sorted` needs.
pub(crate) async fn load<'a>(
    session: &Session,
    (rules, mids, cache, age): (&'a Rules, &'a mut Mids, &mut MembersCache, &'a mut Age),
    sorted: &Sorted<'a>,
) -> Result<Batch<'a>, Failure> {
    let (convs, teams) = places(sorted);
    let begin = if sorted.is_lasting() {
        "BEGIN"
    } else {
        // Acknowledgements may be lost in a crash: their messages are replayed once more.
        "BEGIN; SET LOCAL synchronous_commit = off"
    };
    let values: [Value<'_>; 2] = [&convs, &teams];
    let lock = async {
        if convs.is_empty() && teams.is_empty() {
            return Ok(Vec::new());
        }
        session.query(LOCK, &values).await
    };
    let moment = Moment::begin(session, rules);
    let ((), moment, locked) = try_join3(session.run(begin), moment, lock).await?;
    let moment = age.advance(moment, rules);
    let mut batch = Batch::new(rules, mids, age, moment);
    for row in &locked {
        let mut row = Columns::of(row);
        let conv = row.conv()?;
        let kind = row.kind()?;
        if let ConvKind::Team(team) = &kind {
            batch.teams.insert(team.clone(), conv);
        }
        let head = Head {
            kind,
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
        batch.heads.insert(conv, head);
    }
    rest(session, &mut batch, sorted, cache).await?;
    Ok(batch)
}

/// The conversations to lock, and the teams whose conversations are not known yet.
fn places<'a>(sorted: &Sorted<'a>) -> (Vec<Uuid>, Vec<&'a str>) {
    let read = sorted.reads.iter().map(|read| read.conv);
    let convs = sorted
        .appends
        .iter()
        .filter_map(|order| pair_or_notices(order))
        .chain(read);
    let convs: BTreeSet<_> = convs.map(uuid).collect();
    let teams = sorted.appends.iter().filter_map(|order| match &order.place {
        To::Team(team) => Some(team.as_str()),
        _ => None,
    });
    let teams: BTreeSet<_> = teams.collect();
    (convs.into_iter().collect(), teams.into_iter().collect())
}

/// Reads what depends on the heads.
async fn rest<'a>(
    session: &Session,
    batch: &mut Batch<'a>,
    sorted: &Sorted<'a>,
    cache: &mut MembersCache,
) -> Result<(), Failure> {
    let mut asked = Asked::default();
    for order in &sorted.appends {
        asked.append(batch, order);
    }
    for (device, conv, _) in &sorted.acks {
        asked.place(&device.uid, Some(&device.device), *conv);
    }
    for read in &sorted.reads {
        asked.place(&read.by.uid, Some(&read.by.device), read.conv);
        if let Some(head) = batch.heads.get(&read.conv) {
            asked
                .messages
                .push((&read.by.uid, read.conv, read.seq.0.min(head.seq)));
        }
    }
    let teams = batch
        .heads
        .iter()
        .filter(|(_, head)| matches!(head.kind, ConvKind::Team(_)));
    let stale = cache.stale(teams.map(|(conv, head)| (*conv, head.version)));
    let (places, cids, at_messages, begun, members) = try_join5(
        asked.read_places(session),
        asked.read_cids(session),
        asked.read_messages(session),
        asked.read_begun(session, batch.moment.now),
        members_of(session, &stale),
    )
    .await?;
    for place in places {
        let conv = place.key.1;
        batch.seats.insert(place.key, place.seat);
        if let Some((device, known)) = place.device {
            if let Some(cursor) = place.cursor {
                batch.cursors.insert((known.id, conv), cursor);
            }
            batch.devices.insert(device, known);
        }
    }
    cache.fill(stale, members);
    for (conv, head) in &batch.heads {
        if let Some(members) = cache.get(*conv, head.version) {
            batch.members.insert(*conv, members);
        }
    }
    (batch.cids, batch.at_messages, batch.begun) = (cids, at_messages, begun);
    Ok(())
}

/// What is to be read.
#[derive(Default)]
struct Asked<'a> {
    places: HashSet<(&'a Uid, Option<&'a DeviceId>, ConvId)>,
    cids: HashSet<(ConvId, i64)>,
    messages: Vec<(&'a Uid, ConvId, u64)>,
    beginners: HashSet<&'a Uid>,
}

/// A user's place in a conversation, and its device's.
struct Place {
    key: (Uid, ConvId),
    seat: Seat,
    device: Option<(Device, Known)>,
    cursor: Option<u64>,
}

impl<'a> Asked<'a> {
    fn place(&mut self, uid: &'a Uid, device: Option<&'a DeviceId>, conv: ConvId) {
        self.places.insert((uid, device, conv));
    }

    fn append(&mut self, batch: &Batch<'_>, order: &'a Append) {
        let (conv, is_team) = match &order.place {
            To::Team(team) => (batch.teams.get(team).copied(), true),
            _ => (pair_or_notices(order), false),
        };
        let Some(conv) = conv else { return };
        let is_known = batch.heads.contains_key(&conv);
        if let Some(cid) = order.cid.as_ref().filter(|_| is_known) {
            self.cids.insert((conv, hash(order.from.as_ref(), cid)));
        }
        if let Some(from) = &order.from {
            if order.device.is_some() || is_team && order.counts {
                self.place(from, order.device.as_ref(), conv);
            }
            if !is_known && order.new_pairs_per_hour > 0 {
                self.beginners.insert(from);
            }
        }
    }

    async fn read_places(&self, session: &Session) -> Result<Vec<Place>, Failure> {
        if self.places.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<_> = self.places.iter().copied().collect();
        let uids: Vec<_> = asked.iter().map(|(uid, ..)| uid.as_str()).collect();
        let devices: Vec<_> = asked
            .iter()
            .map(|(_, device, _)| device.map(DeviceId::as_str))
            .collect();
        let convs: Vec<_> = asked.iter().map(|(.., conv)| uuid(*conv)).collect();
        let rows = session.query(PLACES, &[&uids, &devices, &convs]).await?;
        rows.iter().map(|row| read_place(row, &asked)).collect()
    }

    async fn read_cids(&self, session: &Session) -> Result<HashMap<(ConvId, i64), Vec<Earlier>>, Failure> {
        let mut found = HashMap::<_, Vec<_>>::new();
        if self.cids.is_empty() {
            return Ok(found);
        }
        let (convs, hashes): (Vec<_>, Vec<_>) =
            self.cids.iter().map(|(conv, hash)| (uuid(*conv), *hash)).unzip();
        for row in &session.query(CIDS, &[&convs, &hashes]).await? {
            let mut row = Columns::of(row);
            let key = (row.conv()?, row.take()?);
            let earlier = Earlier {
                seq: row.number()?,
                row: row.take()?,
                mid: Mid(row.take()?),
                ts: row.number()?,
                sender: row.uid()?,
                cid: row.take::<Option<&str>>()?.and_then(|text| Cid::new(text).ok()),
            };
            found.entry(key).or_default().push(earlier);
        }
        Ok(found)
    }

    async fn read_messages(
        &self,
        session: &Session,
    ) -> Result<HashMap<(Uid, ConvId, u64), AtMessage>, Failure> {
        let mut found = HashMap::new();
        if self.messages.is_empty() {
            return Ok(found);
        }
        let uids: Vec<_> = self.messages.iter().map(|(uid, ..)| uid.as_str()).collect();
        let convs: Vec<_> = self.messages.iter().map(|(_, conv, _)| uuid(*conv)).collect();
        let seqs: Vec<_> = self.messages.iter().map(|(.., seq)| stored(*seq)).collect();
        for row in &session.query(AT_MESSAGES, &[&uids, &convs, &seqs]).await? {
            let mut row = Columns::of(row);
            let (uid, conv, seq) = asked_for(&self.messages, row.take()?)?;
            let at = AtMessage {
                counted: row.number()?,
                own: row.number()?,
                recalled_after: row.number()?,
            };
            found.insert((uid.clone(), conv, seq), at);
        }
        Ok(found)
    }

    async fn read_begun(&self, session: &Session, now: UnixMillis) -> Result<HashMap<Uid, u32>, Failure> {
        if self.beginners.is_empty() {
            return Ok(HashMap::new());
        }
        let uids: Vec<_> = self.beginners.iter().map(|uid| uid.as_str()).collect();
        let since = stored(now.saturating_sub(HOUR_MS));
        let rows = session.query(BEGUN, &[&uids, &since]).await?;
        let counts = rows.iter().map(|row| {
            let mut row = Columns::of(row);
            let uid = row.uid()?.ok_or(Failure::Defect("a uid is missing"))?;
            Ok((uid, u32::try_from(row.number()?).unwrap_or(u32::MAX)))
        });
        counts.collect()
    }
}

/// Returns the element of a statement's array that a row with this number answers.
fn asked_for<T: Copy>(asked: &[T], number: i64) -> Result<T, Failure> {
    let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
    asked
        .get(index)
        .copied()
        .ok_or(Failure::Defect("an answer to nothing that was asked"))
}

fn read_place(row: &Row, asked: &[(&Uid, Option<&DeviceId>, ConvId)]) -> Result<Place, Failure> {
    let mut row = Columns::of(row);
    let (uid, device, conv) = asked_for(asked, row.take()?)?;
    let head = row.some_number()?;
    let (is_in, floor, read, sent) = (row.take()?, row.some_number()?, row.some_number()?, row.number()?);
    let left = row.some_number()?.zip(row.some_number()?);
    let known: Option<i64> = row.take()?;
    let seen = row.some_number()?;
    let cursor = row.some_number()?;
    let inside = Inside {
        floor: floor.unwrap_or_default(),
        read: read.unwrap_or_default(),
        sent,
    };
    Ok(Place {
        key: (uid.clone(), conv),
        seat: Seat {
            head,
            inside: Some(inside).filter(|_| is_in),
            left,
            kind: head.map(|_| row.kind()).transpose()?,
        },
        device: device.zip(known).map(|(device, id)| {
            let (uid, device) = (uid.clone(), device.clone());
            let seen = seen.unwrap_or_default();
            (Device { uid, device }, Known { id, seen })
        }),
        cursor,
    })
}
