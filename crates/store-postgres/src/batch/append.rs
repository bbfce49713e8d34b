//! Appends a message to its conversation, in memory.

use mynah_store::ids::{Cid, ConvId, Mid, Seq, Uid};
use mynah_store::mids::Mids;
use mynah_store::{Append, Appended, ConvKind, Device, Members, Place, StoreError, UnixMillis};
use sha2::{Digest, Sha256};

use super::state::{Batch, Draft, Head, NewJob, NewMessage};
use crate::rows::Moment;
use crate::values::uuid;

/// The error for an append that is not a repetition although only that was requested.
const NOT_BEFORE: StoreError = StoreError::NotFound("message of this sender's with this cid");
/// The `ts` of a message may be ahead of the clock by this much, so that times do not decrease when the clock
/// is adjusted a little.
const LATE_MS: u64 = 10_000;

/// Returns the hash by which a sender's cid is found.
pub(crate) fn hash(from: Option<&Uid>, cid: &Cid) -> i64 {
    let mut hash = Sha256::new();
    let from = from.map_or("", Uid::as_str);
    hash.update((from.len() as u32).to_be_bytes());
    hash.update(from);
    hash.update(cid.as_str());
    let (first, _) = hash
        .finalize()
        .as_chunks::<8>()
        .0
        .split_first()
        .map(|(a, b)| (*a, b.len()))
        .unwrap_or_default();
    i64::from_be_bytes(first)
}

/// Returns the conversation of a message to a pair or to notices; `None` if it is a team's, or if a pair
/// message has no sender.
pub(super) fn pair_or_notices(order: &Append) -> Option<ConvId> {
    match (&order.place, &order.from) {
        (Place::Pair { class, to }, Some(from)) => Some(ConvId::pair(*class, from, to)),
        (Place::Notices(owner), _) => Some(ConvId::notices(owner)),
        _ => None,
    }
}

/// Returns the sort of the conversation, in case it must be created.
pub(crate) fn new_kind(order: &Append) -> ConvKind {
    match (&order.place, &order.from) {
        (Place::Pair { class, to }, Some(from)) if from <= to => {
            ConvKind::Pair(*class, from.clone(), to.clone())
        }
        (Place::Pair { class, to }, Some(from)) => ConvKind::Pair(*class, to.clone(), from.clone()),
        (Place::Pair { to, .. }, None) => ConvKind::Notices(to.clone()),
        (Place::Notices(owner), _) => ConvKind::Notices(owner.clone()),
        (Place::Team(team), _) => ConvKind::Team(team.clone()),
    }
}

/// Whether `uid` is one of the members.
pub(crate) fn is_in(members: Option<&Members>, uid: &Uid) -> bool {
    members.is_some_and(|members| members.binary_search(uid).is_ok())
}

/// Returns the side of the user for whom a message to a pair or to notices becomes unread. For teams the
/// number of unread messages is computed when it is read.
fn reader(order: &Append) -> Option<usize> {
    let from = order.from.as_ref();
    match &order.place {
        Place::Pair { to, .. } => Some((usize::from(Some(to) > from), to)),
        Place::Notices(owner) => Some((0, owner)),
        Place::Team(_) => None,
    }
    .filter(|(_, reader)| from != Some(*reader))
    .map(|(side, _)| side)
}

/// Whether the sender sees what it sends.
fn sees(order: &Append, is_member: bool) -> bool {
    match &order.place {
        Place::Pair { .. } => true,
        Place::Notices(owner) => order.from.as_ref() == Some(owner),
        Place::Team(_) => is_member,
    }
}

/// Makes the next message of a conversation, and moves its head.
pub(crate) fn next<'a>(
    (head, moment, mids): (&mut Head, &mut Moment, &mut Mids),
    conv: ConvId,
    draft: Draft<'a>,
) -> NewMessage<'a> {
    let (now, row) = (moment.now, moment.next_row());
    head.seq += 1;
    head.counted += u64::from(draft.counts);
    head.ts = if head.ts <= now + LATE_MS {
        head.ts.max(now)
    } else {
        now
    };
    let before = head.last_row;
    head.last_row = before.max(row);
    head.is_dirty = true;
    // Clients take a history in which ids do not ascend with `seq` for another one.
    if let Some(last) = head.last_mid {
        mids.pass(last);
    }
    let mid = mids.next(now);
    head.last_mid = Some(mid);
    NewMessage {
        conv,
        seq: head.seq,
        row,
        before,
        mid,
        ts: head.ts,
        counted: head.counted,
        draft,
    }
}

fn appended(conv: ConvId, (seq, mid, ts): (u64, Mid, UnixMillis)) -> Appended {
    Appended {
        conv,
        seq: Seq(seq),
        mid,
        ts,
        duplicate: false,
        members: None,
        push: None,
        numbers: None,
    }
}

impl<'a> Batch<'a> {
    /// Appends `order`, or finds that it was appended before.
    pub(crate) fn append(&mut self, order: &'a Append) -> Result<Appended, StoreError> {
        let from = order.from.as_ref();
        let (conv, members) = self.find_place(order)?;
        if !self.heads.contains_key(&conv) {
            if order.only_repeat {
                return Err(NOT_BEFORE);
            }
            if let (Place::Pair { .. }, Some(from)) = (&order.place, from) {
                self.count_begun(from, order.new_pairs_per_hour)?;
            }
            self.heads.insert(conv, Head::new(new_kind(order)));
        }
        let head = self
            .heads
            .get(&conv)
            .ok_or(StoreError::NotFound("conversation"))?;
        if head.closed {
            return Err(StoreError::NotFound("conversation"));
        }
        if let Some(first) = order
            .cid
            .as_ref()
            .and_then(|cid| self.find_repeated(conv, from, cid))
        {
            return Ok(first);
        }
        if order.only_repeat {
            return Err(NOT_BEFORE);
        }
        let is_member = from.is_some_and(|uid| is_in(members.as_ref(), uid));
        if order.members_only && !is_member {
            return Err(StoreError::Forbidden(
                "only members may write to this team; ask to be added",
            ));
        }
        let had_all = self.sender_had_all(order, conv, sees(order, is_member));
        let (own, member_sent) = self.count(order, conv, is_member)?;
        let head = self
            .heads
            .get_mut(&conv)
            .ok_or(StoreError::NotFound("conversation"))?;
        if order.counts
            && let Some(side) = reader(order)
        {
            head.unread[side] += 1;
        }
        let draft = Draft {
            kind: order.kind,
            counts: order.counts,
            from,
            cid: order.cid.as_ref(),
            cid_hash: order.cid.as_ref().map(|cid| hash(from, cid)),
            own,
            member_sent,
            data: order.data.get(),
        };
        let message = next((head, &mut self.moment, self.mids), conv, draft);
        let mut told = appended(conv, (message.seq, message.mid, message.ts));
        told.numbers = Some(message.numbers());
        self.messages.push(message);
        if let Some(cid) = &order.cid {
            self.repeated.insert((conv, from, cid), told.clone());
        }
        if let Some(device) = had_all {
            self.advance(device, conv, told.seq.0);
        }
        if let Some(push) = order.push {
            let only = match &order.place {
                Place::Pair { to: uid, .. } | Place::Notices(uid) => Some(uid),
                Place::Team(_) => None,
            };
            let has_recipients = match (only, &members) {
                (None, Some(members)) => members.iter().any(|uid| Some(uid) != from),
                (only, _) => only != from,
            };
            if has_recipients {
                self.jobs.push(NewJob {
                    conv,
                    seq: told.seq,
                    uid: only,
                    push,
                });
            }
        }
        told.members = members;
        Ok(told)
    }

    fn find_place(&self, order: &Append) -> Result<(ConvId, Option<Members>), StoreError> {
        let Place::Team(team) = &order.place else {
            let conv = pair_or_notices(order);
            return conv.map(|conv| (conv, None)).ok_or(StoreError::Forbidden(
                "a message between two users needs its sender",
            ));
        };
        let conv = self.teams.get(team).ok_or(StoreError::NotFound("team"))?;
        if self.heads.get(conv).is_none_or(|head| head.closed) {
            // It was deleted while this transaction waited for the lock.
            return Err(StoreError::NotFound("team"));
        }
        Ok((*conv, Some(self.members.get(conv).cloned().unwrap_or_default())))
    }

    fn count_begun(&mut self, from: &'a Uid, most: u32) -> Result<(), StoreError> {
        if most == 0 {
            return Ok(());
        }
        let begun = self.begun.entry(from.clone()).or_default();
        if *begun >= most {
            return Err(StoreError::TooFast(format!(
                "a user may begin {most} conversations per hour; wait, or send to an existing one"
            )));
        }
        *begun += 1;
        self.begins.push(from);
        Ok(())
    }

    fn find_repeated(&self, conv: ConvId, from: Option<&'a Uid>, cid: &'a Cid) -> Option<Appended> {
        if let Some(first) = self.repeated.get(&(conv, from, cid)) {
            return Some(Appended {
                duplicate: true,
                ..first.clone()
            });
        }
        let window = self.rules.dedupe_window_ms;
        let same = self.cids.get(&(conv, hash(from, cid)))?.iter();
        let newest = same
            .filter(|it| it.sender.as_ref() == from && it.cid.as_ref() == Some(cid))
            .max_by_key(|it| it.seq)?;
        (self.age.of(self.moment.now, newest.row, newest.ts) < window).then(|| Appended {
            duplicate: true,
            ..appended(conv, (newest.seq, newest.mid, newest.ts))
        })
    }

    /// The sender's device, if it is known and has everything before the message.
    fn sender_had_all(&mut self, order: &Append, conv: ConvId, sees: bool) -> Option<i64> {
        let (uid, device) = (order.from.clone()?, order.device.clone().filter(|_| sees)?);
        let floor = match self.seats.get(&(uid.clone(), conv)) {
            Some(seat) => seat.inside.map_or(0, |inside| inside.floor),
            None => 0,
        };
        let device = Device { uid, device };
        let known = self.used(&device)?;
        let head = self.heads.get(&conv)?.seq;
        (self.cursor(known, (conv, head), floor) == head).then_some(known)
    }

    /// Counts a message for its sender. Returns the new running values: of one side of a pair or the owner of
    /// the notices, and of a team's member.
    fn count(
        &mut self,
        order: &Append,
        conv: ConvId,
        is_member: bool,
    ) -> Result<(Option<u64>, Option<u64>), StoreError> {
        let from = order.from.as_ref();
        let (side, counts) = match &order.place {
            Place::Pair { to, .. } => (usize::from(from > Some(to)), order.counts),
            Place::Notices(owner) => (0, order.counts && from == Some(owner)),
            Place::Team(_) => {
                let Some(uid) = from.filter(|_| order.counts && is_member) else {
                    return Ok((None, None));
                };
                let key = (uid.clone(), conv);
                let Some(inside) = self.seats.get_mut(&key).and_then(|seat| seat.inside.as_mut()) else {
                    return Ok((None, None));
                };
                inside.sent += 1;
                self.sent.insert((key.0, uuid(conv)), inside.sent);
                return Ok((None, Some(inside.sent)));
            }
        };
        let head = self
            .heads
            .get_mut(&conv)
            .ok_or(StoreError::NotFound("conversation"))?;
        head.sent[side] += u64::from(counts);
        Ok((Some(head.sent[side]), None))
    }
}
