//! What the connections to Redis are for, and what is done on each when it was opened, and then regularly.
//!
//! Invariants: a server is used for commands only after it was found fit ([`check`]) and no other cluster
//! uses the same name. The node's own key tells whether Redis has lost its data: it is written with each
//! beat, and it was there before unless this is the first connection or the data is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, RedisResult, Value, from_redis_value, pipe};
use tokio::sync::watch;

use crate::check::{check, check_role};
use crate::failure::{Trouble, first_error};
use crate::secret::is_mark;

/// How long the name of a cluster is taken after its last node has stopped.
const OWNER_LIFE: Duration = Duration::from_secs(15);
/// The number of beats after which a server is checked again. An operator may have changed its settings.
const CHECK_EVERY: u64 = 30;

/// What is done with a push message of the server. It must not block.
pub(crate) type Pushed = Arc<dyn Fn(PushInfo) -> RedisResult<()> + Send + Sync>;

/// See the module.
pub(crate) enum Purpose {
    /// Commands of the directory.
    Commands(Keys),
    /// Publishing packets.
    Publish,
    /// Receiving packets.
    Subscribe {
        /// The channels.
        channels: Vec<String>,
        /// Takes what arrives.
        pushed: Pushed,
    },
}

/// The keys that say which cluster and which node use Redis.
pub(crate) struct Keys {
    /// The key with the mark of the cluster.
    pub(crate) owner: String,
    /// A text that only nodes with the same secret know.
    pub(crate) mark: String,
    /// The node's own key.
    pub(crate) node: String,
    /// How long the node's key remains after the last beat.
    pub(crate) life: Duration,
    /// The scripts that are loaded.
    pub(crate) scripts: Vec<&'static str>,
    /// Counts the moments since which Redis may lack what this node has written.
    pub(crate) interruptions: watch::Sender<u64>,
    /// Whether the node's own key was written.
    pub(crate) was_written: AtomicBool,
    /// Whether the last beat was refused.
    pub(crate) was_refused: AtomicBool,
    /// The number of beats.
    pub(crate) beats: AtomicU64,
    /// The last warning about the server's settings.
    pub(crate) warned: Mutex<Option<String>>,
}

impl Purpose {
    /// A word for logs.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Commands(_) => "directory",
            Self::Publish => "publish",
            Self::Subscribe { .. } => "subscribe",
        }
    }

    pub(super) fn pushed(&self) -> Option<Pushed> {
        match self {
            Self::Subscribe { pushed, .. } => Some(pushed.clone()),
            Self::Commands(_) | Self::Publish => None,
        }
    }

    /// Prepares a new connection.
    pub(super) async fn prepare(&self, mut connection: MultiplexedConnection) -> Result<(), Trouble> {
        match self {
            Self::Commands(keys) => keys.prepare(&mut connection).await,
            Self::Publish => self.beat(&mut connection).await,
            Self::Subscribe { channels, .. } => {
                let subscribed = connection.subscribe(&channels[..]).await;
                subscribed.map_err(|error| Trouble::of(&error))
            }
        }
    }

    /// Checks that a connection works.
    pub(super) async fn beat(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        match self {
            Self::Commands(keys) => keys.beat(connection).await,
            // RESP3 allows commands on a connection with subscriptions.
            Self::Publish | Self::Subscribe { .. } => check_role(&info(connection, "replication").await?),
        }
    }
}

impl Keys {
    async fn prepare(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        self.check(connection).await?;
        let mut scripts = pipe();
        for script in &self.scripts {
            scripts.cmd("SCRIPT").arg("LOAD").arg(script);
        }
        run(connection, &scripts).await?;
        if self.was_written.load(Relaxed) {
            self.interruptions.send_modify(|number| *number += 1);
        }
        self.beat(connection).await
    }

    /// Checks the server's settings. A new warning is logged.
    async fn check(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        let warning = check(&info(connection, "default").await?)?;
        let mut warned = self.warned.lock();
        if *warned != warning {
            if let Some(warning) = &warning {
                tracing::warn!("{warning}");
            }
            *warned = warning;
        }
        Ok(())
    }

    /// Like [`Keys::renew`]. A server that refuses to write, for example because its memory is full, is kept:
    /// it can still be read.
    async fn beat(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        if self.beats.fetch_add(1, Relaxed) % CHECK_EVERY == CHECK_EVERY - 1 {
            self.check(connection).await?;
        }
        let renewed = self.renew(connection).await;
        let is_refused = matches!(renewed, Err(Trouble::Refused(_)));
        let was_refused = self.was_refused.swap(is_refused, Relaxed);
        match renewed {
            Err(Trouble::Refused(why)) => {
                if !was_refused {
                    tracing::warn!("Redis refuses to write: {why}");
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Keeps the keys alive, and finds out whether they were lost.
    async fn renew(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        let [life, owner_life] = [self.life, OWNER_LIFE].map(|life| life.as_millis() as u64);
        let mut commands = pipe();
        let owner = commands.cmd("SET").arg(&self.owner).arg(&self.mark);
        owner.arg("NX").arg("PX").arg(owner_life);
        commands.cmd("GET").arg(&self.owner);
        let values = run(connection, &commands).await?;
        let owner: Option<String> = values
            .into_iter()
            .nth(1)
            .and_then(|value| from_redis_value(value).ok());
        // It may have expired between the two commands.
        match owner.filter(|mark| *mark != self.mark) {
            Some(mark) if is_mark(&mark) => return Err(Trouble::OtherCluster(OWNER_LIFE.as_secs())),
            Some(_) => return Err(Trouble::Foreign),
            None => {}
        }
        let mut commands = pipe();
        commands.cmd("PEXPIRE").arg(&self.owner).arg(owner_life);
        let node = commands.cmd("SET").arg(&self.node).arg(1);
        node.arg("PX").arg(life).arg("GET");
        let before = run(connection, &commands).await?.into_iter().nth(1);
        if self.was_written.swap(true, Relaxed) && matches!(before, None | Some(Value::Nil)) {
            tracing::warn!("Redis has lost its data; this node writes its part again");
            self.interruptions.send_modify(|number| *number += 1);
        }
        Ok(())
    }
}

/// What the server says about itself.
async fn info(connection: &mut MultiplexedConnection, section: &str) -> Result<String, Trouble> {
    let values = run(connection, pipe().cmd("INFO").arg(section)).await?;
    let info = values
        .into_iter()
        .next()
        .and_then(|value| from_redis_value(value).ok());
    info.ok_or_else(|| Trouble::NotRedis("INFO has another form".into()))
}

/// Runs commands; the first that is refused is the error.
async fn run(connection: &mut MultiplexedConnection, commands: &Pipeline) -> Result<Vec<Value>, Trouble> {
    let values = connection.send_packed_commands(commands, 0, commands.len()).await;
    first_error(values.map_err(|error| Trouble::of(&error))?)
}
