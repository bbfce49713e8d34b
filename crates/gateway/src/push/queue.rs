//! Jobs that are ready for an attempt, in fair order: senders take turns, and a recipient has one
//! notification in flight.
//!
//! Invariant: a recipient has at most [`MOST_OF_USER`] jobs here; the others wait in the store, so that one
//! user's backlog does not fill the queue.

use std::collections::{HashMap, HashSet, VecDeque};

use super::job::Job;
use crate::ids::Uid;

/// The maximum number of jobs of one recipient.
pub(super) const MOST_OF_USER: u32 = 32;
/// The maximum number of jobs.
const MOST: usize = 4_096;

/// A job for one user.
pub(super) struct Ready {
    pub(super) uid: Uid,
    pub(super) job: Job,
}

/// The sender of a message; `None` is the backend.
type Sender = Option<Uid>;

/// The jobs that are ready for an attempt, in fair order.
#[derive(Default)]
pub(super) struct Queue {
    of_sender: HashMap<Sender, VecDeque<Ready>>,
    /// Senders with jobs, in the order of their turns.
    turns: VecDeque<Sender>,
    of_recipient: HashMap<Uid, u32>,
    len: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_full(&self) -> bool {
        self.len >= MOST
    }

    /// The number of jobs of this recipient.
    pub(super) fn of(&self, uid: &Uid) -> u32 {
        self.of_recipient.get(uid).copied().unwrap_or(0)
    }

    pub(super) fn push(&mut self, ready: Ready) {
        let sender = ready.job.from.clone();
        *self.of_recipient.entry(ready.uid.clone()).or_default() += 1;
        self.len += 1;
        let jobs = self.of_sender.entry(sender.clone()).or_default();
        if jobs.is_empty() {
            self.turns.push_back(sender);
        }
        jobs.push_back(ready);
    }

    /// Removes and returns the next job whose recipient is not `busy`.
    pub(super) fn pop(&mut self, busy: &HashSet<Uid>) -> Option<Ready> {
        for _ in 0..self.turns.len() {
            let sender = self.turns.pop_front()?;
            // Invariant: a sender in `turns` has jobs.
            let jobs = self.of_sender.get_mut(&sender)?;
            let at = jobs.iter().position(|ready| !busy.contains(&ready.uid));
            let found = at.and_then(|at| jobs.remove(at));
            if jobs.is_empty() {
                self.of_sender.remove(&sender);
            } else {
                self.turns.push_back(sender);
            }
            if let Some(ready) = found {
                self.len -= 1;
                if let Some(count) = self.of_recipient.get_mut(&ready.uid) {
                    *count -= 1;
                    if *count == 0 {
                        self.of_recipient.remove(&ready.uid);
                    }
                }
                return Some(ready);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConvId, Mid, Seq};
    use crate::store::{JobId, JobRecipients, PushJob};

    fn ready(id: i64, from: Option<&str>, to: &str) -> Ready {
        let uid = Uid::new(to).unwrap();
        let job = PushJob {
            id: JobId(id),
            mid: Mid(uuid::Uuid::nil()),
            conv: ConvId([0; 16]),
            seq: Seq(1),
            from: from.map(|from| Uid::new(from).unwrap()),
            to: JobRecipients::User(uid.clone()),
            attempts: 0,
            age_ms: 0,
            expires_in_ms: 0,
            due: 0,
        };
        let job = Job::claimed(job, 0);
        Ready { uid, job }
    }

    #[test]
    fn senders_take_turns_and_recipients_wait_for_their_own() {
        let mut queue = Queue::default();
        for id in 0..100 {
            queue.push(ready(id, Some("greedy"), &format!("u{id}")));
        }
        queue.push(ready(100, None, "x"));
        queue.push(ready(101, Some("alice"), "bob"));
        queue.push(ready(102, Some("alice"), "bob"));
        queue.push(ready(103, Some("alice"), "carol"));
        assert_eq!((queue.len(), queue.of(&Uid::new("bob").unwrap())), (104, 2));
        let mut busy = HashSet::new();
        let mut order = Vec::new();
        while let Some(ready) = queue.pop(&busy) {
            order.push(ready.job.id.0);
            busy.insert(ready.uid);
        }
        assert_eq!(order[..5], [0, 100, 101, 1, 103]);
        assert_eq!(order.len(), 103, "bob's second waits for the first");
        busy.clear();
        assert_eq!(queue.pop(&busy).unwrap().job.id, JobId(102));
        assert!(queue.pop(&busy).is_none() && queue.turns.is_empty() && queue.of_sender.is_empty());
        assert!(queue.of_recipient.is_empty());
    }
}
