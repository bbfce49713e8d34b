//! Which store the program uses: the embedded one, or PostgreSQL if `store.url` is set. Also the commands
//! that work on a store, whether a server runs or not.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail};
use mynah_cluster::Incarnation;
use ring::digest::{Context as Hash, SHA256};
use tokio::sync::watch;

use crate::clock;
use crate::cluster::{Cluster, Introduction, Own, Peer, Peers};
use crate::config::{Config, Secret};
use crate::keys::{self, KeyCommand, Said, SettingAccess};
use crate::metrics::Metrics;
use crate::store::embedded::{self, Backup, Clock, Embedded, Export, Restored};
use crate::store::follow::Follow;
use crate::store::postgres::{self, Nodes, Postgres};
use crate::store::transfer::{Row, TABLES};
use crate::store::{Observer, Store};

/// Milliseconds in a day.
const DAY_MS: u64 = 24 * 3_600_000;

/// A store that is open.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    /// What a node of several follows; `None` if the store has one node.
    pub(crate) record: Option<Arc<dyn Follow>>,
    /// Returns the number of commands that wait to be written.
    pub(crate) depth: Box<dyn Fn() -> usize + Send + Sync>,
    /// Resolves when another process has taken over the store.
    pub(crate) lost: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The other nodes that use the store; `None` for the embedded one.
    pub(crate) nodes: Option<watch::Receiver<Nodes>>,
}

/// Tells `cluster` which nodes are running or have ended, from now on.
pub(crate) async fn watch_nodes(mut nodes: watch::Receiver<Nodes>, cluster: Arc<Cluster>) {
    loop {
        let peers = peers(&nodes.borrow_and_update());
        cluster.know(peers);
        if nodes.changed().await.is_err() {
            return;
        }
    }
}

fn peers(nodes: &Nodes) -> Peers {
    let now = clock::now();
    let live = nodes.running.iter().filter_map(|(run, introduction)| {
        let incarnation = Incarnation(*run);
        let advertise = Introduction::parse(introduction)?.advertise;
        Some((
            incarnation,
            Peer {
                incarnation,
                advertise,
            },
        ))
    });
    let ended = nodes.ended.iter().map(|(run, ago_ms)| {
        let since = now.checked_sub(Duration::from_millis(*ago_ms)).unwrap_or(now);
        (Incarnation(*run), since)
    });
    Peers {
        live: live.collect(),
        ended: ended.collect(),
    }
}

/// What the node `own` says to other nodes that use the store.
fn peer(own: &Own, config: &Config) -> anyhow::Result<postgres::Peer> {
    let introduction = own.introduction(config)?;
    Ok(postgres::Peer {
        run: own.incarnation().0,
        introduction: introduction.to_text()?,
        // A node of another version may write it in another form.
        admits: Arc::new(move |other| {
            let other = Introduction::parse(other);
            let checked = other.map_or(Ok(()), |other| introduction.check(&other));
            checked.map_err(|why| why.to_string())
        }),
    })
}

/// Where the record is, in the words of log and errors.
pub(crate) struct Location<'a>(pub(crate) &'a Config);

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match directory(self.0) {
            Some(path) => path.display().fmt(f),
            None => f.write_str("the database of store.url"),
        }
    }
}

/// Returns the data directory; `None` if nothing is kept in it.
pub(crate) fn directory(config: &Config) -> Option<&Path> {
    config.store.url.is_none().then_some(&*config.store.path)
}

/// Returns an error if no store could be opened with this configuration.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    match &config.store.url {
        Some(url) => Ok(postgres::check(url.expose())?),
        None => Ok(()),
    }
}

/// Opens the store, for the node `own` if other nodes may use it too.
pub(crate) async fn open(
    config: &Config,
    metrics: Arc<Metrics>,
    own: Option<&Own>,
) -> anyhow::Result<Opened> {
    match &config.store.url {
        Some(url) => open_postgres(config, (url, own), metrics).await,
        None => open_embedded(config, metrics),
    }
    .with_context(|| format!("the data in {} cannot be used", Location(config)))
}

fn open_embedded(config: &Config, observer: Arc<dyn Observer>) -> anyhow::Result<Opened> {
    let options = embedded::Options {
        durability: config.store.durability,
        dedupe_window_ms: config.limits.dedupe_window_ms,
        max_members: config.limits.members,
        max_devices: config.limits.devices_per_user,
        new_members_see_all: config.teams.history_for_new_members,
        retention_ms: u64::from(config.store.retention_days) * DAY_MS,
        longest_push_wait_ms: config.push.longest_wait_ms(),
        longest_push_life_ms: config.push.job_ttl_ms,
        clock: Clock::new(clock::unix_millis, clock::steady_millis),
        observer,
        ..embedded::Options::new(&config.store.path)
    };
    let store = Arc::new(Embedded::open(options)?);
    Ok(Opened {
        store: store.clone(),
        record: None,
        depth: Box::new(move || store.depth()),
        lost: Box::pin(std::future::pending()),
        nodes: None,
    })
}

async fn open_postgres(
    config: &Config,
    (url, own): (&Secret, Option<&Own>),
    observer: Arc<dyn Observer>,
) -> anyhow::Result<Opened> {
    let options = postgres::Options {
        alone: own.is_none(),
        peer: own.map(|own| peer(own, config)).transpose()?,
        dedupe_window_ms: config.limits.dedupe_window_ms,
        max_members: config.limits.members,
        max_devices: config.limits.devices_per_user,
        new_members_see_all: config.teams.history_for_new_members,
        retention_ms: u64::from(config.store.retention_days) * DAY_MS,
        longest_push_wait_ms: config.push.longest_wait_ms(),
        longest_push_life_ms: config.push.job_ttl_ms,
        observer,
        ..postgres::Options::new(url.expose())
    };
    let store = Arc::new(Postgres::open(options).await?);
    Ok(Opened {
        lost: Box::pin(store.lost()),
        nodes: Some(store.nodes()),
        store: store.clone(),
        record: Some(store.clone()),
        depth: Box::new(move || store.depth()),
    })
}

/// Makes, shows or removes API keys, whether the server runs or not.
pub fn api_key(command: KeyCommand, config: &Config) -> anyhow::Result<Said> {
    let data = &*config.store.path;
    let access = match &config.store.url {
        None => SettingAccess {
            data: Some(data),
            read: Box::new(|name| embedded::read_setting(data, name)),
            change: Box::new(|name, change| embedded::change_setting(data, name, change)),
        },
        Some(url) => SettingAccess {
            data: None,
            read: Box::new(|name| Ok(postgres::read_setting(url.expose(), postgres::SCHEMA, name)?)),
            change: Box::new(|name, change| {
                let database = (url.expose(), postgres::SCHEMA);
                postgres::change_setting(database, name, change)??;
                Ok(true)
            }),
        },
    };
    command.run(config, access)
}

/// Copies the store to a file, whether the server runs or not. Fails if the file exists, unless `force` is
/// set. A failure leaves no new file.
pub fn backup(config: &Config, file: &Path, force: bool) -> anyhow::Result<Backup> {
    only_embedded(config, "pg_dump")?;
    embedded::backup(&config.store.path, file, force)
}

/// Replaces the data directory by a backup. The old directory is kept beside it under another name, and its
/// API keys and revocations remain valid. Fails while a server uses the directory. A failure changes nothing.
pub fn restore(config: &Config, file: &Path) -> anyhow::Result<Restored> {
    only_embedded(config, "pg_restore")?;
    let now = UNIX_EPOCH + Duration::from_millis(clock::unix_millis());
    let time = humantime::format_rfc3339_seconds(now)
        .to_string()
        .replace(['-', ':'], "");
    embedded::restore(&config.store.path, file, &time, &keys::FILES)
}

/// Copies the store of the directory `from` into an empty PostgreSQL database, or goes on with such a copy,
/// and compares the two. A success marks the directory, so that no server starts with it by mistake. The
/// server must be stopped. Returns the number of messages.
pub fn migrate(from: &Path, to: &str) -> anyhow::Result<u64> {
    let source = Export::open(from)?;
    let mut target = postgres::Import::open(to, postgres::SCHEMA, source.epoch())?;
    if !target.is_done() {
        for table in TABLES {
            let copied = match target.begin(table)? {
                Some(after) => {
                    source.rows(table, after, |row| target.add(table, row))?;
                    target.end(table)?
                }
                None => target.count(table)?,
            };
            let expected = source.count(table)?;
            if copied != expected {
                bail!("{} of {expected} rows of {} were copied", copied, table.name);
            }
        }
    }
    let (mut sums, mut copied) = (Sums::default(), Sums::default());
    source.messages_in_order(|row| sums.add(&row))?;
    target.messages_in_order(|row| copied.add(&row))?;
    if let Some(conv) = sums.difference(&copied) {
        bail!("the messages of conversation {conv} differ in the copy: repeat it with an empty database");
    }
    if !target.is_done() {
        target.finish(source.epoch(), source.times()?)?;
    }
    source.mark_moved()?;
    Ok(sums.messages)
}

/// The messages of each conversation: how many, and their hash.
#[derive(Default)]
struct Sums {
    messages: u64,
    conversations: Vec<(String, u64, Hash)>,
}

impl Sums {
    /// Adds the next message.
    fn add(&mut self, row: &Row) -> anyhow::Result<()> {
        let conv = row
            .first()
            .and_then(Option::as_deref)
            .context("a message without conversation")?;
        if self.conversations.last().is_none_or(|(last, ..)| last != conv) {
            self.conversations.push((conv.to_owned(), 0, Hash::new(&SHA256)));
        }
        if let Some((_, count, hash)) = self.conversations.last_mut() {
            *count += 1;
            for value in row {
                let length = value.as_ref().map_or(u64::MAX, |value| value.len() as u64);
                hash.update(&length.to_be_bytes());
                hash.update(value.as_deref().unwrap_or_default().as_bytes());
            }
        }
        self.messages += 1;
        Ok(())
    }

    /// Returns a conversation that differs.
    fn difference(&self, other: &Self) -> Option<String> {
        let known = |sums: &Self, place: usize| {
            let (conv, count, hash) = sums.conversations.get(place)?;
            Some((conv.clone(), *count, hash.clone().finish().as_ref().to_vec()))
        };
        let places = 0..self.conversations.len().max(other.conversations.len());
        places
            .map(|place| (known(self, place), known(other, place)))
            .find(|(one, copy)| one != copy)
            .and_then(|(one, copy)| one.or(copy))
            .map(|(conv, ..)| conv)
    }
}

/// Fails if the record is in PostgreSQL, and names `program`, which does the same there.
fn only_embedded(config: &Config, program: &str) -> anyhow::Result<()> {
    if config.store.url.is_some() {
        bail!(
            "the record is in PostgreSQL, because store.url is set: use {program} for the schema {} of that database \
             (docs/POSTGRES.md)",
            postgres::SCHEMA
        );
    }
    Ok(())
}
