//! Delivery: what was committed goes to the connections it is for, in commit order inside a conversation.
//!
//! Only delivery sends through the registry. A conversation always falls to the same of a few tasks; the store's thread hands
//! over and goes on. The answer to the sender comes after the hand-over to the connections, so that it knows who was reached.

use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};

use crate::clock;
use crate::frame::{Envelope, Frame};
use crate::ids::{Cid, ConvId, Uid};
use crate::metrics::{KindLabel, Metrics};
use crate::order::{Origin, Stored};
use crate::registry::Registry;
use crate::reject::Reject;
use crate::session::Link;
use crate::store::{Appended, JobId, JobOutcome, Members, Store, TeamChanged, TeamNotice};

/// Tasks that deliver; more than the processors of any machine we know help nobody.
const SHARDS: usize = 16;
/// Recipients, of one message or many, between two looks at whether another task wants the thread: a millisecond or two. What comes to a
/// connection meanwhile, it writes in one go.
const RECIPIENTS_PER_TURN: usize = 8_192;
/// Bytes of frames between two such looks: a connection that nothing keeps from writing must not run into its queue's bound because its
/// task had no turn.
const BYTES_PER_TURN: usize = 65_536;

/// What became of a stored message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) stored: Stored,
    /// Users who got it on a live connection.
    pub(crate) online: usize,
    /// Users who did not.
    pub(crate) offline: usize,
}

/// Told what became of a message, once.
pub(crate) type Answer = Box<dyn FnOnce(Result<Outcome, Reject>) + Send>;

/// A message that the store has.
pub(crate) struct Committed {
    pub(crate) appended: Appended,
    pub(crate) kind: u16,
    pub(crate) data: Arc<RawValue>,
    pub(crate) from: Option<Uid>,
    pub(crate) cid: Option<Cid>,
    /// The one recipient, unless it is a team.
    pub(crate) to: Option<Uid>,
    pub(crate) origin: Option<Origin>,
    /// The sender's other devices get it too.
    pub(crate) follow: bool,
    pub(crate) at: Instant,
    pub(crate) answer: Answer,
    /// Its share of the appends in flight: what waits here is bounded by it.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// A change to a team that the store has.
pub(crate) struct CommittedChange {
    pub(crate) changed: TeamChanged,
    pub(crate) answer: Box<dyn FnOnce(TeamChanged) + Send>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// A read position that the store has moved, or found where it was.
pub(crate) struct Receipt {
    pub(crate) conv: ConvId,
    /// Kind 107.
    pub(crate) frame: Arc<Frame>,
    /// The users to tell; nobody when it has not moved.
    pub(crate) to: Members,
    pub(crate) origin: Origin,
    pub(crate) answer: Box<dyn FnOnce() + Send>,
    pub(crate) permit: OwnedSemaphorePermit,
}

enum Work {
    Message(Box<Committed>),
    Receipt(Box<Receipt>),
    Change(Box<CommittedChange>),
}

/// The queues of the delivering tasks.
pub(crate) struct Delivery {
    shards: Vec<mpsc::Sender<Work>>,
}

impl Delivery {
    /// Starts the tasks. At most `in_flight` messages are handed over and not yet delivered.
    pub(crate) fn start(worker: &Worker, in_flight: usize) -> Self {
        let shards = (0..SHARDS)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(in_flight);
                tokio::spawn(worker.clone().run(receiver));
                sender
            })
            .collect();
        Self { shards }
    }

    /// Takes over a message. Called in commit order; does not block.
    pub(crate) fn message(&self, message: Committed) {
        let conv = message.appended.conv;
        self.enqueue(conv, Work::Message(Box::new(message)));
    }

    /// Takes over a change. Called in commit order; does not block.
    pub(crate) fn change(&self, change: CommittedChange) {
        let conv = change.changed.team.conv;
        self.enqueue(conv, Work::Change(Box::new(change)));
    }

    /// Takes over a receipt. Called in commit order; does not block.
    pub(crate) fn receipt(&self, receipt: Receipt) {
        self.enqueue(receipt.conv, Work::Receipt(Box::new(receipt)));
    }

    fn enqueue(&self, conv: ConvId, work: Work) {
        let shard = usize::from(conv.0[15]) % self.shards.len();
        // Full it cannot be: every piece of work holds one of `in_flight` permits.
        if self.shards[shard].try_send(work).is_err() {
            tracing::error!("delivery has stopped; a stored message waits for its recipients to resume");
        }
    }
}

/// What a task has handed over since the connections' tasks had their turn.
#[derive(Default)]
pub(crate) struct Turn {
    bytes: usize,
    recipients: usize,
}

impl Turn {
    /// Before a frame of so many bytes: lets others have their turn first if it is too much for one.
    async fn frame(&mut self, bytes: usize) {
        if self.bytes + bytes > BYTES_PER_TURN {
            self.end().await;
        }
        self.bytes += bytes;
    }

    /// Before more recipients: how many of `wanted` are next, after others have had their turn if that is due.
    async fn recipients(&mut self, wanted: usize) -> usize {
        if self.recipients == RECIPIENTS_PER_TURN {
            self.end().await;
        }
        let next = wanted.min(RECIPIENTS_PER_TURN - self.recipients);
        self.recipients += next;
        next
    }

    async fn end(&mut self) {
        *self = Self::default();
        tokio::task::yield_now().await;
    }
}

/// Sends to users, and counts.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) registry: Arc<Registry<Link>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Arc<Metrics>,
    /// Told after each commit with a push job that is left to do.
    pub(crate) push_due: Arc<Notify>,
}

impl Worker {
    async fn run(self, mut work: mpsc::Receiver<Work>) {
        let mut turn = Turn::default();
        while let Some(work) = work.recv().await {
            match work {
                Work::Message(message) => self.message(*message, &mut turn).await,
                Work::Change(change) => self.change(*change, &mut turn).await,
                Work::Receipt(receipt) => {
                    self.members(&receipt.to, Some(&receipt.origin), &receipt.frame, &mut turn)
                        .await;
                    (receipt.answer)();
                    drop(receipt.permit);
                }
            }
        }
    }

    async fn message(&self, message: Committed, turn: &mut Turn) {
        let stored = Stored::from(&message.appended);
        if stored.duplicate {
            (message.answer)(Ok(Outcome {
                stored,
                online: 0,
                offline: usize::from(message.to.is_some()),
            }));
            return;
        }
        self.appended(message.kind);
        let frame = Arc::new(Frame::push(&Envelope {
            kind: message.kind,
            data: &message.data,
            place: Some((stored.mid, stored.conv, stored.seq)),
            from: message.from.as_ref(),
            cid: message.cid.as_ref(),
            ts: stored.ts,
            recalled: false,
        }));
        turn.frame(frame.len()).await;
        let origin = message.origin.as_ref();
        let (online, offline) = match (&message.to, &message.appended.members) {
            (Some(to), _) => {
                let reached = self.user(to, origin, &frame);
                (usize::from(reached), usize::from(!reached))
            }
            (None, Some(members)) => self.members(members, origin, &frame, turn).await,
            (None, None) => (0, 0),
        };
        if let Some(from) = message.from.as_ref().filter(|_| message.follow) {
            let members = message.appended.members.as_ref();
            let had_it = message.to.as_ref() == Some(from)
                || members.is_some_and(|members| members.binary_search(from).is_ok());
            if !had_it {
                self.user(from, origin, &frame);
            }
        }
        if let Some(job) = message.appended.push {
            self.push_job(job, message.to.is_some() && online > 0);
        }
        self.metrics
            .delivery_seconds
            .observe(clock::now().duration_since(message.at).as_secs_f64());
        (message.answer)(Ok(Outcome {
            stored,
            online,
            offline,
        }));
        drop(message.permit);
    }

    /// The job of a message whose only recipient has it is done; others are left to the push worker.
    fn push_job(&self, job: JobId, reached: bool) {
        if !reached {
            self.push_due.notify_one();
            return;
        }
        self.metrics.push_skipped.inc();
        // What cannot be written now is left to the push worker as well.
        let outcome = vec![(job, JobOutcome::Finished)];
        self.store.finish_jobs(outcome, Box::new(drop));
    }

    async fn change(&self, change: CommittedChange, turn: &mut Turn) {
        let team = &change.changed.team;
        let notices = &change.changed.notices;
        // Who is there is asked once for all notices: replacing many members is many notices to many members.
        let there: Members = match notices.len() {
            0 | 1 => team.members.clone(),
            _ => {
                let there = team.members.iter().filter(|uid| self.registry.is_online(uid));
                Arc::new(there.cloned().collect())
            }
        };
        for notice in notices {
            self.appended(notice.kind);
            let frame = Arc::new(Frame::push(&envelope(notice, team.conv)));
            turn.frame(frame.len()).await;
            self.members(&there, None, &frame, turn).await;
            if team.members.binary_search(&notice.uid).is_err() {
                self.user(&notice.uid, None, &frame);
            }
        }
        (change.answer)(change.changed);
        drop(change.permit);
    }

    /// Sends to all connections of a user but `origin`; whether there was one.
    pub(crate) fn user(&self, uid: &Uid, origin: Option<&Origin>, frame: &Arc<Frame>) -> bool {
        let connections = self.reach(uid, origin, frame);
        self.count(connections);
        connections > 0
    }

    fn reach(&self, uid: &Uid, origin: Option<&Origin>, frame: &Arc<Frame>) -> usize {
        let except = origin.map(|origin| &origin.0);
        self.registry.reach(uid, except, |link| link.push(frame))
    }

    /// Sends to every member; how many were reached and how many not.
    pub(crate) async fn members(
        &self,
        members: &[Uid],
        origin: Option<&Origin>,
        frame: &Arc<Frame>,
        turn: &mut Turn,
    ) -> (usize, usize) {
        let (mut online, mut connections) = (0, 0);
        let mut rest = members;
        while !rest.is_empty() {
            let page;
            (page, rest) = rest.split_at(turn.recipients(rest.len()).await);
            for uid in page {
                let reached = self.reach(uid, origin, frame);
                online += usize::from(reached > 0);
                connections += reached;
            }
        }
        self.count(connections);
        (online, members.len() - online)
    }

    /// Sends to everyone; how many users were reached.
    pub(crate) fn everyone(&self, origin: Option<&Origin>, frame: &Arc<Frame>) -> usize {
        let except = origin.map(|origin| &origin.0);
        let (users, connections) = self.registry.reach_everyone(except, |link| link.push(frame));
        self.count(connections);
        users
    }

    fn appended(&self, kind: u16) {
        let label = KindLabel { kind };
        self.metrics.messages_appended.get_or_create(&label).inc();
    }

    fn count(&self, connections: usize) {
        self.metrics.deliveries.inc_by(connections as u64);
        self.metrics.frames_out.inc_by(connections as u64);
    }
}

fn envelope(notice: &TeamNotice, conv: ConvId) -> Envelope<'_> {
    Envelope {
        kind: notice.kind,
        data: &notice.data,
        place: Some((notice.mid, conv, notice.seq)),
        from: None,
        cid: None,
        ts: notice.ts,
        recalled: false,
    }
}
