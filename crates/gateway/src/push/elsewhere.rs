//! What the connections to other nodes show about received messages.
//!
//! Invariant: a user who may be connected to another node is not notified only because that node, or the
//! directory, does not answer for a moment. The wait is short, because the user may also be offline.

use std::collections::BTreeMap;

use mynah_cluster::{Answer, Ask, Ended, Incarnation, MessageTo, Packet, Shows, To};

use super::now;
use super::reached::{About, Reached, URGENT_WAIT_MS, Verdict, wait};
use crate::ids::Uid;
use crate::time::UnixMillis;

/// The longest wait for another node or the directory, from the commit of a message.
const ANSWER_WAIT_MS: u64 = 10_000;
/// Time between two questions about a user whose node has ended.
const RETURN_WAIT_MS: u64 = 1_000;

impl Reached {
    /// Whether there may be other nodes.
    pub(super) fn has_others(&self) -> bool {
        self.cluster.is_some()
    }

    /// Returns for each message what connections to other nodes show, or `None` if the user has none. The
    /// list is empty if there are no other nodes.
    pub(super) async fn elsewhere(&self, messages: &[About<'_>]) -> Vec<Option<Verdict>> {
        let Some(cluster) = &self.cluster else {
            return Vec::new();
        };
        let begun = now();
        let mut verdicts = vec![None; messages.len()];
        let is_open = |at: &usize| self.connected(&messages[*at], begun) != Some(Verdict::Has);
        let open: Vec<_> = (0..messages.len()).filter(is_open).collect();
        if open.is_empty() {
            return verdicts;
        }
        let uids: Vec<Uid> = open.iter().map(|at| messages[*at].uid.clone()).collect();
        let Ok(found) = cluster.find(&uids).await else {
            for at in open {
                verdicts[at] = Some(unknown(&messages[at], begun));
            }
            return verdicts;
        };
        let mut asks: BTreeMap<Incarnation, (Vec<usize>, Vec<MessageTo>)> = BTreeMap::new();
        for (at, elsewhere) in open.into_iter().zip(found) {
            let about = &messages[at];
            if elsewhere.returns {
                verdicts[at] = Some(returning(about, begun));
            }
            for node in elsewhere.nodes {
                let (places, ask) = asks.entry(node).or_default();
                places.push(at);
                ask.push(about.for_others(begun));
            }
        }
        let (places, asks): (Vec<_>, Vec<_>) = asks
            .into_iter()
            .map(|(node, (places, ask))| (places, (node, Ask::Shows(ask))))
            .unzip();
        let answers = cluster.ask_each(asks).await;
        for (places, answer) in places.into_iter().zip(answers) {
            let shows = match answer {
                Some(Answer::Shows(shows)) => shows,
                _ => Vec::new(),
            };
            for (number, at) in places.into_iter().enumerate() {
                let verdict = match shows.get(number) {
                    None => Some(unknown(&messages[at], begun)),
                    Some(shows) => verdict_of(*shows),
                };
                verdicts[at] = verdicts[at].max(verdict);
            }
        }
        verdicts
    }

    /// Answers another node what the connections to this one show about each message.
    pub(crate) fn shows(&self, messages: &[MessageTo]) -> Vec<Shows> {
        let now = now();
        let shows = |message: &MessageTo| {
            let about = About {
                uid: &message.uid,
                conv: message.conv,
                seq: message.seq,
                made: now.saturating_sub(message.age_ms),
                urgent: message.is_urgent,
            };
            match self.connected(&about, now) {
                None => Shows::Nothing,
                Some(Verdict::Has) => Shows::Has,
                Some(Verdict::Delivered(ms)) => Shows::Delivered(ms),
                Some(Verdict::Wait(ms)) => Shows::Wait(ms),
                Some(Verdict::Tell) => Shows::NotAcknowledged,
            }
        };
        messages.iter().map(shows).collect()
    }

    /// Tells the other nodes that a connection to this one has ended.
    pub(super) fn tell_ended(&self, ended: Ended) {
        if let Some(cluster) = &self.cluster {
            cluster.send(To::All, &Packet::Ended(ended));
        }
    }
}

fn verdict_of(shows: Shows) -> Option<Verdict> {
    match shows {
        Shows::Nothing => None,
        Shows::Has => Some(Verdict::Has),
        Shows::Delivered(ms) => Some(Verdict::Delivered(ms)),
        Shows::Wait(ms) => Some(Verdict::Wait(ms)),
        Shows::NotAcknowledged => Some(Verdict::Tell),
    }
}

/// The user may be connected to another node.
fn unknown(about: &About<'_>, now: UnixMillis) -> Verdict {
    let most = if about.urgent {
        URGENT_WAIT_MS
    } else {
        ANSWER_WAIT_MS
    };
    wait(about.made.saturating_add(most), now)
}

/// The user was connected to a node that has just ended, and is expected back.
fn returning(about: &About<'_>, now: UnixMillis) -> Verdict {
    if about.urgent {
        wait(about.made.saturating_add(URGENT_WAIT_MS), now)
    } else {
        Verdict::Wait(RETURN_WAIT_MS)
    }
}

impl About<'_> {
    fn for_others(&self, now: UnixMillis) -> MessageTo {
        MessageTo {
            uid: self.uid.clone(),
            conv: self.conv,
            seq: self.seq,
            age_ms: now.saturating_sub(self.made),
            is_urgent: self.urgent,
        }
    }
}
