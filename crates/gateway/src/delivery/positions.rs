//! Up to where each conversation was delivered on this node of several, and what must wait.
//!
//! Messages of a conversation come from this node's own commits, from other nodes, and from the record, in
//! any order and more than once. Invariant: what is delivered of a conversation strictly ascends, and nothing
//! is left out that its recipients on this node lack. A message is delivered if the one before it was, or if
//! the follower has handled everything before it ([`Point`]). Otherwise it waits, and what is missing is
//! read.
//!
//! A conversation is forgotten when the follower has passed its last message for a while. Its messages are
//! then recognised by their numbers: what the follower has handled is not delivered again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::ids::{ConvId, Seq};
use crate::store::Stretch;
use crate::store::follow::{Numbers, Point};

/// The maximum number of bytes of messages of other nodes that wait in a lane. Beyond it they are read from
/// the record.
const MOST_HELD: usize = 4 << 20;

/// The place of one message, or of several that follow each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) conv: ConvId,
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// The numbers of the first one.
    pub(super) numbers: Option<Numbers>,
}

struct Held<T> {
    place: Place,
    bytes: usize,
    item: T,
}

/// A conversation. `W` says to whom it belongs.
struct Position<T, W> {
    whose: W,
    /// Up to where it was delivered; `None` if that is not known.
    delivered: Option<Seq>,
    /// What waits, by its first number.
    held: BTreeMap<Seq, Held<T>>,
    /// There are messages up to this one.
    head: Seq,
    is_reading: bool,
    /// Whether a wait has begun, at whose end [`Positions::overdue`] is called.
    is_timed: bool,
    used: Instant,
}

/// Messages to read from the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) conv: ConvId,
    /// After this message; `None`: those that the follower has not handled.
    pub(super) after: Option<Seq>,
    pub(super) through: Seq,
}

/// What comes next in a conversation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// Deliver this, without so many messages at its beginning, which were delivered.
    Deliver(T, u64),
    /// This was delivered.
    Repeated(T),
    /// The next one lacks something that must be read.
    Unready(Seq),
    /// Something before the next one is missing. If true, a wait begins.
    Wait(bool),
    /// Nothing waits.
    Nothing,
}

/// See the module.
pub(super) struct Positions<T, W> {
    conversations: HashMap<ConvId, Position<T, W>>,
    /// What the follower has handled.
    handled: Arc<Point>,
    bytes: usize,
}

impl<T, W: Clone> Positions<T, W> {
    pub(super) fn new(handled: Arc<Point>) -> Self {
        Self {
            conversations: HashMap::new(),
            handled,
            bytes: 0,
        }
    }

    /// What the follower has handled.
    pub(super) fn handled(&self) -> &Arc<Point> {
        &self.handled
    }

    /// The follower has handled everything up to this moment. Conversations that were not used since `unused`
    /// are forgotten.
    pub(super) fn set_handled(&mut self, handled: Arc<Point>, unused: Instant) {
        self.handled = handled;
        self.conversations.retain(|_, position| {
            position.is_reading || position.is_timed || !position.held.is_empty() || position.used >= unused
        });
        if self.conversations.len() * 8 < self.conversations.capacity() {
            self.conversations.shrink_to(self.conversations.len() * 2);
        }
    }

    fn position(&mut self, conv: ConvId, now: Instant, whose: impl FnOnce() -> W) -> &mut Position<T, W> {
        let position = self.conversations.entry(conv).or_insert_with(|| Position {
            whose: whose(),
            delivered: None,
            held: BTreeMap::new(),
            head: Seq(0),
            is_reading: false,
            is_timed: false,
            used: now,
        });
        position.used = now;
        position
    }

    /// Takes an item. If it is not this node's own, it is dropped if too much waits or its place is taken.
    pub(super) fn offer(
        &mut self,
        place: Place,
        (item, bytes, is_own): (T, usize, bool),
        now: Instant,
        whose: impl FnOnce() -> W,
    ) {
        let is_full = self.bytes + bytes > MOST_HELD && !is_own;
        let position = self.position(place.conv, now, whose);
        if is_full {
            position.head = position.head.max(place.last);
            return;
        }
        if !is_own && position.held.contains_key(&place.first) {
            return;
        }
        let held = Held { place, bytes, item };
        let replaced = position.held.insert(place.first, held);
        self.bytes += bytes;
        self.bytes -= replaced.map_or(0, |replaced| replaced.bytes);
    }

    /// Whether anything is known about a conversation.
    pub(super) fn knows(&self, conv: ConvId) -> bool {
        self.conversations.contains_key(&conv)
    }

    /// What waits first in a conversation.
    pub(super) fn first(&self, conv: ConvId) -> Option<&T> {
        let held = self.conversations.get(&conv)?.held.first_key_value();
        held.map(|(_, held)| &held.item)
    }

    /// Whether an item with this place would have to wait.
    pub(super) fn would_wait(&self, place: &Place) -> bool {
        let settled = |numbers: Numbers| self.handled.includes_up_to(numbers.before);
        let is_settled = || place.numbers.is_none_or(settled);
        match self.conversations.get(&place.conv) {
            None => !is_settled(),
            Some(position) => {
                let follows = position
                    .delivered
                    .is_some_and(|delivered| place.first.0 <= delivered.0 + 1);
                !(position.held.is_empty() && (follows || !position.is_reading && is_settled()))
            }
        }
    }

    /// Takes the next item of a conversation, if its turn has come and `is_ready` is true for it.
    pub(super) fn next(&mut self, conv: ConvId, is_ready: impl FnOnce(&T) -> bool) -> Next<T> {
        let Some(position) = self.conversations.get_mut(&conv) else {
            return Next::Nothing;
        };
        let Some(entry) = position.held.first_entry() else {
            return Next::Nothing;
        };
        let place = entry.get().place;
        let numbers = place.numbers;
        let is_settled = || numbers.is_none_or(|numbers| self.handled.includes_up_to(numbers.before));
        let is_next = match position.delivered {
            Some(delivered) if place.last <= delivered => {
                let held = entry.remove();
                self.bytes -= held.bytes;
                return Next::Repeated(held.item);
            }
            None if numbers.is_some_and(|numbers| self.handled.includes(numbers.own)) => {
                let held = entry.remove();
                self.bytes -= held.bytes;
                return Next::Repeated(held.item);
            }
            Some(delivered) if place.first.0 <= delivered.0 + 1 => true,
            _ => !position.is_reading && is_settled(),
        };
        if !is_next {
            let begins = !position.is_reading && !position.is_timed;
            position.is_timed |= begins;
            return Next::Wait(begins);
        }
        if !is_ready(&entry.get().item) {
            return Next::Unready(place.first);
        }
        let held = entry.remove();
        self.bytes -= held.bytes;
        let skip = position
            .delivered
            .map_or(0, |delivered| (delivered.0 + 1).saturating_sub(place.first.0));
        position.delivered = Some(place.last);
        Next::Deliver(held.item, skip)
    }

    /// Begins to read what is needed before the next item of a conversation, unless something is being read.
    pub(super) fn begin_reading(&mut self, conv: ConvId) -> Option<(Gap, W)> {
        let position = self.conversations.get_mut(&conv)?;
        if position.is_reading {
            return None;
        }
        let through = match position.held.first_key_value() {
            Some((first, _)) => Seq(first.0 - 1),
            None if position.delivered.unwrap_or(Seq(0)) < position.head => position.head,
            None => return None,
        };
        position.is_reading = true;
        let after = position.delivered;
        Some((Gap { conv, after, through }, position.whose.clone()))
    }

    /// The wait of a conversation is over. Returns what must be read.
    pub(super) fn overdue(&mut self, conv: ConvId) -> Option<(Gap, W)> {
        self.conversations.get_mut(&conv)?.is_timed = false;
        self.begin_reading(conv)
    }

    /// Begins a wait after which what is missing is read again.
    pub(super) fn failed(&mut self, conv: ConvId) {
        if let Some(position) = self.conversations.get_mut(&conv) {
            position.is_reading = false;
            position.is_timed = true;
        }
    }

    /// The follower has found new messages. Returns what must be read.
    pub(super) fn found(&mut self, stretch: Stretch, now: Instant, whose: W) -> Option<(Gap, W)> {
        let position = self.position(stretch.conv, now, || whose);
        position.head = position.head.max(stretch.through);
        if position.is_reading
            || position
                .delivered
                .is_some_and(|delivered| delivered >= stretch.through)
        {
            return None;
        }
        position.is_reading = true;
        let gap = Gap {
            conv: stretch.conv,
            after: Some(position.delivered.unwrap_or(stretch.after)),
            through: stretch.through,
        };
        Some((gap, position.whose.clone()))
    }

    /// A message was read. Returns whether it must be delivered now. If an own item with its place waits,
    /// that is next instead.
    pub(super) fn read(&mut self, conv: ConvId, seq: Seq, is_own: impl Fn(&T) -> bool) -> bool {
        let Some(position) = self.conversations.get_mut(&conv) else {
            return false;
        };
        if position.delivered.is_some_and(|delivered| delivered >= seq) {
            return false;
        }
        let waits = position.held.get(&seq).is_some_and(|held| is_own(&held.item));
        position.delivered = Some(Seq(seq.0 - u64::from(waits)));
        !waits
    }

    /// Everything up to `through` was read.
    pub(super) fn end_reading(&mut self, conv: ConvId, through: Seq, now: Instant) {
        if let Some(position) = self.conversations.get_mut(&conv) {
            position.is_reading = false;
            position.delivered = position.delivered.max(Some(through));
            position.used = now;
        }
    }
}

#[cfg(test)]
mod tests;
