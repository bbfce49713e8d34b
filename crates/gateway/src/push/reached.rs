//! Decides whether a user has received a message, as far as connections show it.
//!
//! A message counts as received when a device of the user has acknowledged it (103, 106). A client that has
//! sent neither since it registered does not acknowledge at all: what was written to its connection counts as
//! received, unless the connection ends without a close and thereby proves to have been dead.

use std::collections::HashSet;
use std::sync::Arc;

use mynah_cluster::Incarnation;
use parking_lot::Mutex;

use super::job::Job;
use super::recent::Recent;
use super::{Wake, now};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::directory::Registry;
use crate::ids::{ConvId, Seq, Uid};
use crate::session::Link;
use crate::time::UnixMillis;

/// How long acknowledgements are remembered: longer than the store takes to write them.
const ACKS_MS: u64 = 10_000;
/// The longest wait for an acknowledgement of something urgent.
pub(super) const URGENT_WAIT_MS: u64 = 3_000;
/// The time beyond the heartbeat that it may take to detect a dead connection.
const SLACK_MS: u64 = 10_000;

/// What connections show about received messages.
pub(crate) struct Reached {
    registry: Arc<Registry<Link>>,
    /// The other nodes; `None` if there is one node.
    pub(super) cluster: Option<Arc<Cluster>>,
    /// Wakes the worker when a connection has ended without a close.
    pub(super) wake: Arc<Wake>,
    /// How long a connected device may take to acknowledge. If it is 0, connected users count as reached.
    ack_wait_ms: u64,
    /// How long after the end of its connection a user counts as reconnecting.
    return_ms: u64,
    /// The longest time until a dead connection is closed.
    heartbeat_ms: u64,
    /// The highest acknowledged `seq`, and when it was acknowledged: it does not cover messages that were
    /// committed later, whatever their number.
    acks: Mutex<Recent<(Uid, ConvId), (Seq, UnixMillis)>>,
    ended: Mutex<Recent<Uid, Ended>>,
    vanished: Mutex<Vec<(Uid, UnixMillis)>>,
    /// Nodes that have ended and whose users were looked for.
    pub(super) searched: Mutex<HashSet<Incarnation>>,
}

/// A connection that has ended.
struct Ended {
    written_since: UnixMillis,
    acknowledges: bool,
    at: UnixMillis,
    /// When the client was last heard from, if the connection ended without a close.
    vanished: Option<UnixMillis>,
}

/// A message to a user, and when it was committed.
pub(super) struct About<'a> {
    pub(super) uid: &'a Uid,
    pub(super) conv: ConvId,
    pub(super) seq: Seq,
    pub(super) made: UnixMillis,
    pub(super) urgent: bool,
}

impl<'a> About<'a> {
    pub(super) fn of(job: &Job, uid: &'a Uid, urgent: bool) -> Self {
        Self {
            uid,
            conv: job.conv,
            seq: job.seq,
            made: job.made,
            urgent,
        }
    }
}

/// What connections show about a message and a user.
///
/// If the connections to several nodes show something, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// The user has not acknowledged it, as far as is known here.
    Tell,
    /// The user may still acknowledge it for this time, in milliseconds.
    Wait(u64),
    /// The message was written to a connection. If that is dead, this will be known after this time, in
    /// milliseconds.
    Delivered(u64),
    /// The user has the message.
    Has,
}

impl Reached {
    pub(crate) fn new(
        registry: Arc<Registry<Link>>,
        wake: Arc<Wake>,
        cluster: Option<Arc<Cluster>>,
        config: &Config,
    ) -> Self {
        let interval = u64::from(config.engine.ping_interval_ms);
        let timeout = u64::from(config.engine.ping_timeout_ms);
        // A handler that waits may postpone the heartbeat's deadline once.
        let heartbeat_ms = interval + 2 * timeout + SLACK_MS;
        Self {
            registry,
            cluster,
            wake,
            ack_wait_ms: config.push.ack_wait_ms,
            return_ms: 2 * config.push.delay_ms,
            heartbeat_ms,
            acks: Mutex::new(Recent::new(ACKS_MS)),
            ended: Mutex::new(Recent::new(heartbeat_ms)),
            vanished: Mutex::default(),
            searched: Mutex::default(),
        }
    }

    /// The longest time, in milliseconds, from a message until the dead connection to which it was written is
    /// closed.
    pub(super) fn heartbeat_ms(&self) -> u64 {
        self.heartbeat_ms
    }

    /// Notes that a connection is about to be registered for another user than before.
    pub(crate) fn begins(&self, link: &Link) {
        link.begins(now());
    }

    /// Notes that a device of the user has acknowledged everything of a conversation up to a message.
    pub(crate) fn acknowledged(&self, uid: &Uid, conv: ConvId, seq: Seq) {
        let now = now();
        let mut acks = self.acks.lock();
        let key = (uid.clone(), conv);
        if acks.get(now, &key).is_none_or(|(known, _)| *known <= seq) {
            acks.put(now, key, (seq, now));
        }
    }

    /// Notes that a registered connection of the user has ended. `vanished` means that it ended without a
    /// close.
    pub(crate) fn ended(&self, uid: &Uid, link: &Link, vanished: bool) {
        let at = now();
        let vanished = vanished.then(|| at.saturating_sub(link.outlet().silent_ms()));
        let ended = Ended {
            written_since: link.written_since(),
            acknowledges: link.acknowledges(),
            at,
            vanished,
        };
        if let (Some(heard), false) = (vanished, ended.acknowledges || self.ack_wait_ms == 0) {
            self.vanished(uid.clone(), heard);
        } else if vanished.is_some() {
            self.wake.due_in(0);
        }
        if self.has_others() {
            let since = ended.written_since;
            self.tell_ended(mynah_cluster::Ended {
                uid: uid.clone(),
                written_ms: (since <= at).then(|| at - since),
                acknowledges: ended.acknowledges,
                silent_ms: vanished.map(|heard| at.saturating_sub(heard)),
            });
        }
        self.ended.lock().put(at, uid.clone(), ended);
    }

    /// Notes that a connection to another node has ended.
    pub(crate) fn ended_elsewhere(&self, ended: mynah_cluster::Ended) {
        let at = now();
        let since = |age_ms: u64| at.saturating_sub(age_ms);
        let noted = Ended {
            written_since: ended.written_ms.map_or(u64::MAX, since),
            acknowledges: ended.acknowledges,
            at,
            vanished: ended.silent_ms.map(since),
        };
        self.ended.lock().put(at, ended.uid, noted);
    }

    /// Notes that a connection of the user has proved to be dead: the client was last heard from at `heard`.
    pub(super) fn vanished(&self, uid: Uid, heard: UnixMillis) {
        self.vanished.lock().push((uid, heard));
        self.wake.due_in(0);
    }

    /// The users whose connections have ended without a close since the last call, and when each was last
    /// heard from.
    pub(super) fn take_vanished(&self) -> Vec<(Uid, UnixMillis)> {
        std::mem::take(&mut self.vanished.lock())
    }

    /// Frees entries that are not needed any more. It must be called from time to time.
    pub(super) fn forget_old(&self) {
        let now = now();
        self.acks.lock().forget_old(now);
        self.ended.lock().forget_old(now);
    }

    /// Returns what is known about this message and user at present, with what other nodes know
    /// ([`Reached::elsewhere`]).
    pub(super) fn verdict(&self, about: &About<'_>, elsewhere: Option<Verdict>) -> Verdict {
        let now = now();
        match self.connected(about, now).max(elsewhere) {
            None => self.away(about, now),
            Some(Verdict::Wait(_) | Verdict::Tell) if self.had_before(about, now) => Verdict::Has,
            Some(verdict) => verdict,
        }
    }

    /// Returns what acknowledgements and connections to this node show; `None` if the user has no connection.
    pub(super) fn connected(&self, about: &About<'_>, now: UnixMillis) -> Option<Verdict> {
        let key = (about.uid.clone(), about.conv);
        let acknowledged = self.acks.lock().get(now, &key).copied();
        if acknowledged.is_some_and(|(seq, at)| seq >= about.seq && at >= about.made) {
            return Some(Verdict::Has);
        }
        let (mut connected, mut written, mut heard) = (false, false, false);
        self.registry.connections(about.uid, |link, _| {
            connected = true;
            if !link.acknowledges() && link.written_since() <= about.made {
                written = true;
                heard |= now.saturating_sub(link.outlet().silent_ms()) > about.made;
            }
        });
        if heard || (connected && self.ack_wait_ms == 0) {
            Some(Verdict::Has)
        } else if written {
            Some(Verdict::Delivered(self.heartbeat_ms))
        } else if connected {
            let most = if about.urgent { URGENT_WAIT_MS } else { u64::MAX };
            Some(wait(about.made.saturating_add(self.ack_wait_ms.min(most)), now))
        } else {
            None
        }
    }

    /// Whether the message counts as received on a connection of the user that has ended.
    fn had_before(&self, about: &About<'_>, now: UnixMillis) -> bool {
        let ended = self.ended.lock();
        let ended = ended.get(now, about.uid);
        ended.is_some_and(|ended| self.received(ended, about))
    }

    /// Whether the message counts as received on a connection that has ended.
    fn received(&self, ended: &Ended, about: &About<'_>) -> bool {
        let was_written = ended.written_since <= about.made && about.made <= ended.at;
        was_written
            && match self.ack_wait_ms {
                0 => true,
                _ => !ended.acknowledges && ended.vanished.is_none_or(|heard| heard > about.made),
            }
    }

    /// Returns the verdict for a user who has no connection.
    fn away(&self, about: &About<'_>, now: UnixMillis) -> Verdict {
        let ended = self.ended.lock();
        let Some(ended) = ended.get(now, about.uid) else {
            return Verdict::Tell;
        };
        if self.received(ended, about) {
            return Verdict::Has;
        }
        let back = ended.at.saturating_add(self.return_ms);
        if ended.vanished.is_none() && !about.urgent {
            wait(back, now)
        } else {
            Verdict::Tell
        }
    }
}

/// The user may acknowledge until this time.
pub(super) fn wait(until: UnixMillis, now: UnixMillis) -> Verdict {
    match until.saturating_sub(now) {
        0 => Verdict::Tell,
        ms => Verdict::Wait(ms),
    }
}
