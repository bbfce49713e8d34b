//! Questions to other nodes, and their answers: for example, how many connections a sign-out has ended.
//!
//! Invariants: a question is forgotten when nobody waits for it. An answer that is late, repeated, or from a
//! node that was not asked changes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::ids::Incarnation;
use crate::packet::{Answer, Reached};

/// See the module.
#[derive(Default)]
pub struct Questions {
    last: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
}

struct Open {
    answers: Answers,
    is_complete: Arc<Notify>,
}

/// What the nodes have answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Their answers, in the order in which they came.
    pub given: Vec<Answer>,
    /// The nodes that have not answered.
    pub missing: HashSet<Incarnation>,
}

impl Answers {
    /// The sum of the counts.
    pub fn count(&self) -> u64 {
        let counts = self.given.iter().map(|answer| match answer {
            Answer::Count(count) => *count,
            _ => 0,
        });
        counts.fold(0, u64::saturating_add)
    }

    /// The recipients of a message whom any of the nodes has reached.
    pub fn reached(&self) -> Reached {
        let mut all = Reached::default();
        for answer in &self.given {
            if let Answer::Reached(reached) = answer {
                all.add(reached);
            }
        }
        all
    }
}

/// A question that waits for its answers.
pub struct Asked<'a> {
    questions: &'a Questions,
    number: u64,
    is_complete: Arc<Notify>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.questions.open.lock().remove(&self.number);
    }
}

impl Questions {
    /// Begins a question to these nodes. It begins before the packet is sent, so that no answer is too early.
    pub fn ask(&self, nodes: impl IntoIterator<Item = Incarnation>) -> Asked<'_> {
        let number = self.last.fetch_add(1, Relaxed) + 1;
        let is_complete = Arc::new(Notify::new());
        let answers = Answers {
            missing: nodes.into_iter().collect(),
            ..Answers::default()
        };
        if answers.missing.is_empty() {
            is_complete.notify_one();
        }
        let open = Open {
            answers,
            is_complete: is_complete.clone(),
        };
        self.open.lock().insert(number, open);
        Asked {
            questions: self,
            number,
            is_complete,
        }
    }

    /// Takes a node's answer to a question.
    pub fn answer(&self, from: Incarnation, number: u64, answer: Answer) {
        if let Some(open) = self.open.lock().get_mut(&number)
            && open.answers.missing.remove(&from)
        {
            open.answers.given.push(answer);
            if open.answers.missing.is_empty() {
                open.is_complete.notify_one();
            }
        }
    }
}

impl Asked<'_> {
    /// The question's number, for the packet.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Waits until all nodes have answered, but not longer than `limit`.
    pub async fn answers(self, limit: Duration) -> Answers {
        // Whether the time is over shows in what is missing.
        let _ = timeout(limit, self.is_complete.notified()).await;
        let open = self.questions.open.lock().remove(&self.number);
        open.map(|open| open.answers).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [Incarnation; 3] = [Incarnation([1; 16]), Incarnation([2; 16]), Incarnation([3; 16])];
    const LIMIT: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn answers_are_added_until_all_nodes_have_answered() {
        let questions = Questions::default();
        let [asked, other] = [questions.ask(NODES), questions.ask(NODES)];
        let number = asked.number();
        assert_ne!(number, other.number());
        for (node, count) in NODES.into_iter().zip(1..) {
            questions.answer(node, number, Answer::Count(count));
            // Repeated, to another question, or from a stranger.
            questions.answer(node, number, Answer::Count(100));
            questions.answer(node, 99, Answer::Count(100));
            questions.answer(Incarnation([9; 16]), number, Answer::Count(100));
        }
        let answers = asked.answers(LIMIT).await;
        assert_eq!((answers.count(), answers.given.len()), (6, 3));
        assert!(answers.missing.is_empty());
        // The other one has none, and the time passes.
        let answers = other.answers(LIMIT).await;
        assert_eq!((answers.count(), answers.missing.len()), (0, 3));
        assert!(questions.open.lock().is_empty());
    }

    #[tokio::test]
    async fn without_other_nodes_there_is_nothing_to_wait_for() {
        let questions = Questions::default();
        assert_eq!(questions.ask([]).answers(LIMIT).await, Answers::default());
        drop(questions.ask(NODES));
        assert!(questions.open.lock().is_empty());
    }
}
