//! The records of users in Redis.
//!
//! Invariant: each user has one key, and each change of it is one script, so that it is atomic and works on
//! any node of a sharded Redis.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use mynah_store::ids::Uid;
use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, Pipeline, Value, from_redis_value};
use tokio::sync::watch;

use super::entry::{self, Entry, Held};
use super::policy::{Policy, Why};
use super::records::{Claim, Claimed, Ousted, Records, Released, Results};
use super::scripts::{self, CLAIM, RELEASE, TOUCH};
use super::{Directory, DirectoryConfig};
use crate::failure::{Failure, refused};
use crate::ids::{Incarnation, Order};
use crate::link::{Keys, Link, Purpose};

/// See the module.
struct RedisRecords {
    link: Link,
    /// The beginning of the users' keys.
    prefix: String,
    policy: Policy,
    life: Duration,
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
            beats: AtomicU64::new(0),
            warned: Mutex::new(None),
        };
        let prefix = format!("{name}:u:");
        let link = Link::start(config.address, Purpose::Commands(keys), config.times);
        let state = link.state();
        let records = RedisRecords {
            link,
            prefix,
            policy: config.policy,
            life: config.life,
        };
        Self::new(Box::new(records), state, seen)
    }
}

impl Records for RedisRecords {
    fn claim<'a>(&'a self, claims: &'a [Claim<'a>]) -> Results<'a, Claimed> {
        let commands = claims.iter().map(|claim| self.claim_command(claim)).collect();
        Box::pin(async move {
            let values = self.run(&commands).await?;
            Ok(values.into_iter().map(parse_claim).collect())
        })
    }

    fn touch<'a>(&'a self, held: &'a [Held]) -> Results<'a, bool> {
        let commands = held.iter().map(|held| {
            let mut command = TOUCH.on(&self.key(&held.uid));
            command
                .arg(self.life.as_millis() as u64)
                .arg(&*held.entry.sid)
                .arg(held.order.0);
            command
        });
        let commands = commands.collect();
        Box::pin(async move {
            let values = self.run(&commands).await?;
            Ok(values.into_iter().map(read).collect())
        })
    }

    fn release<'a>(&'a self, connections: &'a [(&'a Uid, &'a str)]) -> Results<'a, Released> {
        let commands = connections.iter().map(|(uid, sid)| {
            let mut command = RELEASE.on(&self.key(uid));
            command.arg(*sid);
            command
        });
        let commands = commands.collect();
        Box::pin(async move {
            let values = self.run(&commands).await?;
            let released = values.into_iter().map(|value| {
                let (was_there, left) = read(value)?;
                Ok(Released { was_there, left })
            });
            Ok(released.collect())
        })
    }

    fn find<'a>(&'a self, uids: &'a [Uid]) -> Results<'a, Vec<Incarnation>> {
        let mut commands = Pipeline::with_capacity(uids.len());
        for uid in uids {
            commands.cmd("GET").arg(self.key(uid));
        }
        Box::pin(async move {
            let values = self.link.ask(&commands).await?;
            let nodes = values.into_iter().map(|value| match value {
                Value::Nil => Ok(Vec::new()),
                Value::BulkString(bytes) => entry::nodes(&bytes).ok_or(Failure::Foreign),
                Value::ServerError(error) => Err(refused(&error)),
                _ => Err(Failure::Foreign),
            });
            Ok(nodes.collect())
        })
    }
}

impl RedisRecords {
    /// The user's key. The part in braces decides on which node of a sharded Redis it is.
    fn key(&self, uid: &Uid) -> String {
        format!("{}{{{}}}", self.prefix, uid.as_str())
    }

    fn claim_command(&self, claim: &Claim<'_>) -> Cmd {
        let (most, per_platform) = self.policy.limits();
        let entry = claim.entry;
        let mut command = CLAIM.on(&self.key(claim.uid));
        command
            .arg(self.life.as_millis() as u64)
            .arg(most)
            .arg(if per_platform { "p" } else { "-" })
            .arg(claim.restores.map_or(0, |order| order.0))
            .arg(entry.node.to_string())
            .arg(&*entry.sid)
            .arg(entry.device.as_str())
            .arg(entry.platform.as_deref().unwrap_or_default());
        for node in claim.dead {
            command.arg(node.to_string());
        }
        command
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
