//! The directory: who is connected where, in Redis.
//!
//! Invariants: each user has one key, and each change of it is one script, so that it is atomic and works on
//! any node of a sharded Redis. A claim applies the login policy as the registry of one node does. What is in
//! Redis may be lost at any moment: each node writes its own entries again ([`Directory::refresh`]), and of
//! entries that the policy does not allow together the later claims remain. An entry that is not refreshed
//! expires, by the clock of Redis.
//!
//! Nothing lists all users here. A set of them would be written with each register and refresh, and would
//! contain the users of a dead node until they expire. Instead all nodes are asked
//! ([`Ask::Names`](crate::Ask::Names)).

mod entry;
mod owed;
mod policy;
mod refresh;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use mynah_store::ids::Uid;
use redis::{Cmd, FromRedisValue, Pipeline, Value, from_redis_value};
use tokio::sync::watch;

use crate::address::Address;
use crate::failure::{Failure, refused};
use crate::ids::{ClusterName, Incarnation, Order};
use crate::link::{Keys, Link, Purpose, State, Times};
use crate::secret::Secret;
use owed::Owed;
use scripts::{CLAIM, RELEASE};

pub use entry::Entry;
#[cfg(test)]
pub(crate) use entry::entries;
pub use policy::{Policy, Why};
pub use refresh::{Held, Refreshed};

/// How long an entry lives without a refresh.
pub const ENTRY_LIFE: Duration = Duration::from_secs(90);
/// How often a node refreshes its entries.
pub const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// The maximum number of commands of one pipeline. Longer lists take several, one after the other.
const BATCH: usize = 500;

/// What a directory needs.
pub struct DirectoryConfig {
    /// Where Redis is.
    pub address: Arc<Address>,
    /// The name of the cluster.
    pub name: ClusterName,
    /// The secret of the cluster.
    pub secret: Secret,
    /// This node's run.
    pub incarnation: Incarnation,
    /// The login policy. All nodes must have the same one.
    pub policy: Policy,
    /// How long an entry lives without a refresh: [`ENTRY_LIFE`].
    pub life: Duration,
    /// Limits of time.
    pub times: Times,
}

/// See the module.
pub struct Directory {
    link: Link,
    /// The beginning of the users' keys.
    prefix: String,
    policy: Policy,
    life: Duration,
    interruptions: watch::Receiver<u64>,
    owed: Owed,
    /// Whether a key with a value of another program was logged.
    was_foreign: AtomicBool,
}

/// The result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The number of the claim. Of a user's connections, the one with the highest number claimed last.
    pub order: Order,
    /// The number of other connections of the user that remain.
    pub others: usize,
    /// The connections that the login policy has removed, oldest first. Their nodes must be told.
    pub ousted: Vec<Ousted>,
}

/// A connection that a claim has removed. It is meant only if its claim has this order: a connection that has
/// registered again since then is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ousted {
    /// Why.
    pub why: Why,
    /// The number of its claim.
    pub order: Order,
    /// The removed entry.
    pub entry: Entry,
}

/// The result of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Whether there was an entry.
    pub was_there: bool,
    /// The number of the user's connections that remain.
    pub left: usize,
}

impl Directory {
    /// Begins to connect. The caller is inside of a tokio runtime.
    pub fn start(config: DirectoryConfig) -> Self {
        let name = config.name.as_str();
        let (interruptions, seen) = watch::channel(0);
        let keys = Keys {
            owner: format!("{name}:owner"),
            mark: config.secret.mark(&config.name),
            node: format!("{name}:n:{}", config.incarnation),
            life: config.life,
            scripts: scripts::texts(),
            interruptions,
            was_written: AtomicBool::new(false),
            was_refused: AtomicBool::new(false),
        };
        Self {
            prefix: format!("{name}:u:"),
            link: Link::start(config.address, Purpose::Commands(keys), config.times),
            policy: config.policy,
            life: config.life,
            interruptions: seen,
            owed: Owed::default(),
            was_foreign: AtomicBool::new(false),
        }
    }

    /// Whether Redis is connected, and if not, why; changes can be awaited.
    pub fn state(&self) -> watch::Receiver<State> {
        self.link.state()
    }

    /// Counts the moments since which Redis may lack what this node has written: it has lost its data, or the
    /// connection was lost. After each change, the node calls [`Directory::refresh`] with all of its
    /// connections at once.
    pub fn interruptions(&self) -> watch::Receiver<u64> {
        self.interruptions.clone()
    }

    /// The user's key. The part in braces decides on which node of a sharded Redis it is.
    fn key(&self, uid: &Uid) -> String {
        format!("{}{{{}}}", self.prefix, uid.as_str())
    }

    /// Enters a connection for `uid` and applies the login policy. A connection that is there already claims
    /// anew. The entries of nodes in `dead` are removed without being reported; name those that have ended
    /// less than [`ENTRY_LIFE`] ago.
    ///
    /// After [`Failure::NoAnswer`] the claim may be there; it is released with the next refresh, unless the
    /// connection claims again. If the connection has closed while it claimed, release it after the answer.
    pub async fn claim(&self, uid: &Uid, entry: &Entry, dead: &[Incarnation]) -> Result<Claimed, Failure> {
        entry.check()?;
        let mut command = self.claim_command(uid, entry, Order(0));
        for incarnation in dead {
            command.arg(incarnation.to_string());
        }
        match self.run(&Commands::from_iter([command])).await {
            Ok(mut values) => {
                self.owed.cancel(uid, &entry.sid);
                parse_claim(values.pop().unwrap_or(Value::Nil))
            }
            Err(failure) => {
                if failure == Failure::NoAnswer {
                    self.owed.add(uid, &entry.sid);
                }
                Err(failure)
            }
        }
    }

    /// The command that claims, or with an order other than 0 restores, an entry.
    fn claim_command(&self, uid: &Uid, entry: &Entry, order: Order) -> Cmd {
        let (most, per_platform) = self.policy.limits();
        let mut command = CLAIM.on(&self.key(uid));
        command
            .arg(self.life.as_millis() as u64)
            .arg(most)
            .arg(if per_platform { "p" } else { "-" })
            .arg(order.0)
            .arg(entry.node.to_string())
            .arg(&*entry.sid)
            .arg(entry.device.as_str())
            .arg(entry.platform.as_deref().unwrap_or_default());
        command
    }

    /// Removes the entry of a connection, and no other. If Redis does not work, it is removed with the next
    /// refresh.
    pub async fn release(&self, uid: &Uid, sid: &str) -> Result<Released, Failure> {
        let mut results = self.release_all(&[(uid, sid)]).await?;
        results.pop().unwrap_or(Err(Failure::NoAnswer))
    }

    /// Like [`Directory::release`] for many connections, for example when a node stops. There is a result for
    /// each.
    pub async fn release_all(
        &self,
        connections: &[(&Uid, &str)],
    ) -> Result<Vec<Result<Released, Failure>>, Failure> {
        let mut results = Vec::with_capacity(connections.len());
        for (number, batch) in connections.chunks(BATCH).enumerate() {
            let commands = batch.iter().map(|(uid, sid)| {
                let mut command = RELEASE.on(&self.key(uid));
                command.arg(*sid);
                command
            });
            let values = self.run(&commands.collect()).await.inspect_err(|_| {
                let left = &connections[number * BATCH..];
                left.iter().for_each(|(uid, sid)| self.owed.add(uid, sid));
            })?;
            results.extend(values.into_iter().map(|value| {
                let (was_there, left): (u8, usize) = read(value)?;
                Ok(Released {
                    was_there: was_there > 0,
                    left,
                })
            }));
        }
        Ok(results)
    }

    /// Returns for each user the nodes that have connections of the user, each node once. Nodes that have
    /// ended are among them until the entries expire: the caller knows which ones have.
    pub async fn find(&self, uids: &[Uid]) -> Result<Vec<Vec<Incarnation>>, Failure> {
        let mut results = Vec::with_capacity(uids.len());
        for batch in uids.chunks(BATCH) {
            let mut commands = Pipeline::with_capacity(batch.len());
            for uid in batch {
                commands.cmd("GET").arg(self.key(uid));
            }
            let values = self.link.ask(&commands).await?;
            for value in values {
                let nodes = match value {
                    Value::Nil => Some(Vec::new()),
                    Value::BulkString(bytes) => entry::nodes(&bytes),
                    _ => None,
                };
                // The other users must not suffer from it. The record of messages reaches this one too.
                if nodes.is_none() && !self.was_foreign.swap(true, Relaxed) {
                    tracing::warn!("a user cannot be found: {}", Failure::Foreign);
                }
                results.push(nodes.unwrap_or_default());
            }
        }
        Ok(results)
    }

    /// Runs scripts in one pipeline. If Redis has forgotten them (SCRIPT FLUSH), it gets them again.
    async fn run(&self, commands: &Commands) -> Result<Vec<Value>, Failure> {
        let Commands(commands) = commands;
        let mut values = self.link.ask(commands).await?;
        let is_forgotten =
            |value: &Value| matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT");
        if !values.iter().any(is_forgotten) {
            return Ok(values);
        }
        let mut again = Pipeline::new();
        for text in scripts::texts() {
            again.cmd("SCRIPT").arg("LOAD").arg(text);
        }
        let loads = again.len();
        for (command, value) in commands.cmd_iter().zip(&values) {
            if is_forgotten(value) {
                again.add_command(command.clone());
            }
        }
        let answers = self.link.ask(&again).await?.into_iter().skip(loads);
        let forgotten = values.iter_mut().filter(|value| is_forgotten(value));
        for (value, answer) in forgotten.zip(answers) {
            *value = answer;
        }
        Ok(values)
    }
}

/// Commands that are sent together.
struct Commands(Pipeline);

impl FromIterator<Cmd> for Commands {
    fn from_iter<I: IntoIterator<Item = Cmd>>(commands: I) -> Self {
        let mut pipeline = Pipeline::new();
        for command in commands {
            pipeline.add_command(command);
        }
        Self(pipeline)
    }
}

/// Reads an answer of a script.
fn read<T: FromRedisValue>(value: Value) -> Result<T, Failure> {
    if let Value::ServerError(error) = &value {
        return Err(refused(error));
    }
    from_redis_value(value).map_err(|_| Failure::Refused("a script has given an unknown answer".into()))
}

fn parse_claim(value: Value) -> Result<Claimed, Failure> {
    let unknown = || Failure::Refused("the script of a claim has given an unknown answer".into());
    let values: Vec<Value> = read(value)?;
    let mut values = values.into_iter();
    let mut next = || values.next().ok_or_else(unknown);
    let order = Order(read(next()?)?);
    let others = read(next()?)?;
    let ousted = values.map(|value| {
        let line: String = read(value)?;
        let (why, line) = line.split_at_checked(1).ok_or_else(unknown)?;
        let (order, entry) = Entry::parse(line).ok_or_else(unknown)?;
        Ok(Ousted {
            why: Why::from_letter(why).ok_or_else(unknown)?,
            order,
            entry,
        })
    });
    Ok(Claimed {
        order,
        others,
        ousted: ousted.collect::<Result<_, _>>()?,
    })
}
