//! The commands of a node's directory: they take time, and some are not answered.

use std::sync::Arc;
use std::time::Duration;

use mynah_store::ids::Uid;
use tokio::time::{Instant, sleep, sleep_until};

use super::server::{Server, Shared};
use crate::directory::records::{Claim, Records, Results};
use crate::directory::{Claimed, Held, Policy, Released};
use crate::failure::{Failure, Trouble};
use crate::ids::Incarnation;

/// How long a node waits for an answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What a node's directory uses.
pub(super) struct Commands {
    pub(super) shared: Arc<Shared>,
    pub(super) own: Incarnation,
    pub(super) policy: Policy,
}

/// What becomes of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It is executed, and its answer is lost.
    Unanswered,
    /// It is lost.
    Lost,
}

impl Commands {
    /// Executes a command, after the commands that the node has sent before.
    async fn run<T>(&self, execute: impl FnOnce(&mut Server) -> T) -> Result<T, Failure> {
        let (sent, at, back, fate) = {
            let mut server = self.shared.server.lock();
            if !server.is_connected(self.own) {
                return Err(Failure::Unavailable);
            }
            let (there, back) = (server.delay(), server.delay());
            let unanswered = server.faults.unanswered;
            let fate = match server.random.percent(unanswered) {
                false => Fate::Answered,
                true if server.random.percent(50) => Fate::Unanswered,
                true => Fate::Lost,
            };
            let sent = Instant::now();
            let Some(node) = server.nodes.get_mut(&self.own) else {
                return Err(Failure::Unavailable);
            };
            let at = (sent + there).max(node.last_command + Duration::from_millis(1));
            node.last_command = at;
            (sent, at, back, fate)
        };
        sleep_until(at).await;
        let result = {
            let mut server = self.shared.server.lock();
            match server.is_connected(self.own) && fate != Fate::Lost {
                true => Some(execute(&mut server)),
                false => None,
            }
        };
        match fate {
            Fate::Answered => sleep(back).await,
            Fate::Unanswered | Fate::Lost => sleep_until(sent + ANSWER).await,
        }
        let server = self.shared.server.lock();
        match result {
            Some(result) if fate == Fate::Answered && server.is_connected(self.own) => Ok(result),
            _ => {
                // The connection is replaced, because later answers on it would be late as well.
                if let Some(node) = server.nodes.get(&self.own) {
                    node.disconnected(Trouble::NoAnswer);
                }
                Err(Failure::NoAnswer)
            }
        }
    }
}

impl Records for Commands {
    fn claim<'a>(&'a self, claims: &'a [Claim<'a>]) -> Results<'a, Claimed> {
        Box::pin(self.run(|server| {
            let claimed = claims.iter().map(|claim| Ok(server.claim(claim, self.policy)));
            claimed.collect()
        }))
    }

    fn touch<'a>(&'a self, held: &'a [Held]) -> Results<'a, bool> {
        Box::pin(self.run(|server| held.iter().map(|held| Ok(server.touch(held))).collect()))
    }

    fn release<'a>(&'a self, connections: &'a [(&'a Uid, &'a str)]) -> Results<'a, Released> {
        Box::pin(self.run(|server| {
            let released = connections.iter().map(|(uid, sid)| Ok(server.release(uid, sid)));
            released.collect()
        }))
    }

    fn find<'a>(&'a self, uids: &'a [Uid]) -> Results<'a, Vec<Incarnation>> {
        Box::pin(self.run(|server| uids.iter().map(|uid| Ok(server.find(uid))).collect()))
    }
}
