//! Sends frames to the connections of users.
//!
//! Invariant: a task that sends yields to the tasks of the connections before it has queued too much for
//! them.

use std::sync::Arc;

use mynah_cluster::Reached;

use crate::directory::{ConnectionId, Registry};
use crate::frame::Frame;
use crate::ids::Uid;
use crate::metrics::{KindLabel, Metrics};
use crate::push::Wake;
use crate::session::Link;
use crate::store::Members;
use crate::store::follow::RecordId;

/// The maximum number of recipients to whom a message is sent before other conversations have their turn.
/// This takes a fraction of a millisecond.
pub(super) const SLICE: usize = 1_024;
/// The number of recipients, of one message or many, after which the task yields to other tasks. They take
/// one or two milliseconds. A connection then writes everything that was queued for it with one call.
const RECIPIENTS_AT_ONCE: usize = 8_192;
/// The number of bytes of frames after which the task yields to other tasks. Otherwise the queue of a
/// connection could become full although its client reads.
const BYTES_AT_ONCE: usize = 65_536;

/// A frame that is being sent to many users.
pub(super) struct Fan {
    pub(super) frame: Arc<Frame>,
    pub(super) to: Members,
    pub(super) except: Option<ConnectionId>,
    /// How many of the recipients have been handled.
    pub(super) at: usize,
    /// Of these, how many were reached.
    pub(super) online: usize,
    /// Which ones were reached, if other nodes want to know or count others.
    pub(super) reached: Option<Reached>,
    /// The message's number, if connections that have registered later are left out.
    pub(super) number: Option<RecordId>,
}

impl Fan {
    pub(super) fn new(frame: Arc<Frame>, to: Members, except: Option<ConnectionId>) -> Self {
        Self {
            frame,
            to,
            except,
            at: 0,
            online: 0,
            reached: None,
            number: None,
        }
    }

    /// Notes which recipients are reached.
    pub(super) fn noting(self) -> Self {
        Self {
            reached: Some(Reached::default()),
            ..self
        }
    }

    /// How many recipients were reached, and how many were not.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.online, self.to.len() - self.online)
    }
}

/// What a task has queued for connections since it last yielded to their tasks.
#[derive(Default)]
pub(super) struct Budget {
    pub(super) bytes: usize,
    pub(super) recipients: usize,
}

impl Budget {
    /// Call it before a frame of this many bytes. Yields first if the frame would exceed the budget.
    pub(super) async fn frame(&mut self, bytes: usize) {
        if self.bytes + bytes > BYTES_AT_ONCE {
            self.end().await;
        }
        self.bytes += bytes;
    }

    /// Call it before more recipients. Yields first if the budget is used up. Returns how many of the
    /// `wanted` recipients fit into the budget.
    pub(super) async fn recipients(&mut self, wanted: usize) -> usize {
        if self.recipients == RECIPIENTS_AT_ONCE {
            self.end().await;
        }
        let next = wanted.min(RECIPIENTS_AT_ONCE - self.recipients);
        self.recipients += next;
        next
    }

    async fn end(&mut self) {
        *self = Self::default();
        tokio::task::yield_now().await;
    }
}

/// Sends frames to users, and counts them.
#[derive(Clone)]
pub(crate) struct Fanout {
    pub(crate) registry: Arc<Registry<Link>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Woken for each push job.
    pub(crate) wake: Arc<Wake>,
}

impl Fanout {
    /// Sends to all connections of a user except one. Returns whether there was another.
    pub(crate) fn user(&self, uid: &Uid, except: Option<ConnectionId>, frame: &Arc<Frame>) -> bool {
        let connections = self.registry.reach(uid, except, |link| link.push(frame));
        self.count(connections);
        connections > 0
    }

    /// Sends to all members. Returns who was reached.
    pub(crate) async fn members(
        &self,
        members: Members,
        except: Option<ConnectionId>,
        frame: Arc<Frame>,
    ) -> Reached {
        let (mut fan, mut budget) = (Fan::new(frame, members, except).noting(), Budget::default());
        while !self.fan(&mut fan, &mut budget).await {}
        fan.reached.unwrap_or_default()
    }

    /// Sends a message that was read from the record to those connections of a user that have registered
    /// before it was committed. The others have read it themselves. Returns their number.
    pub(super) fn reach_earlier(&self, uid: &Uid, id: RecordId, frame: &Arc<Frame>) -> usize {
        let mut connections = 0;
        self.registry.connections(uid, |link, registration| {
            let is_earlier = registration.point.get().is_some_and(|point| !point.includes(id));
            connections += usize::from(is_earlier && link.push(frame));
        });
        connections
    }

    /// Sends to the next [`SLICE`] of the recipients. Returns true if those were the last.
    pub(super) async fn fan(&self, fan: &mut Fan, budget: &mut Budget) -> bool {
        let end = fan.to.len().min(fan.at + SLICE);
        let mut connections = 0;
        while fan.at < end {
            let next = budget.recipients(end - fan.at).await;
            for (number, uid) in (fan.at..).zip(&fan.to[fan.at..fan.at + next]) {
                let reached = match fan.number {
                    None => self.registry.reach(uid, fan.except, |link| link.push(&fan.frame)),
                    Some(id) => self.reach_earlier(uid, id, &fan.frame),
                };
                if reached > 0 {
                    fan.online += 1;
                    if let Some(all) = &mut fan.reached {
                        all.set(number);
                    }
                }
                connections += reached;
            }
            fan.at += next;
        }
        self.count(connections);
        fan.at == fan.to.len()
    }

    /// Sends to all connected users, except one connection. Returns how many users were reached.
    pub(crate) fn everyone(&self, except: Option<ConnectionId>, frame: &Arc<Frame>) -> usize {
        let (users, connections) = self.registry.reach_everyone(except, |link| link.push(frame));
        self.count(connections);
        users
    }

    pub(super) fn appended(&self, kind: u16) {
        let label = KindLabel { kind };
        self.metrics.messages_appended.get_or_create(&label).inc();
    }

    pub(super) fn count(&self, connections: usize) {
        self.metrics.deliveries.inc_by(connections as u64);
        self.metrics.frames_out.inc_by(connections as u64);
    }
}
