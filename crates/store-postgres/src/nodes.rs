//! The nodes that use the database. Each has a row, in which it writes a heartbeat every second.
//!
//! The heartbeats have the time of PostgreSQL's clock, so that the clocks of the nodes do not matter.
//! Invariants: a node that could not write its heartbeat for [`SILENT_MS`](super::health::SILENT_MS) does
//! nothing that needs the store; another node may delete its row only after [`DEAD_MS`], which is longer;
//! every transaction that writes locks the row of its node (`rows.rs`), so that a node without a row writes
//! nothing, even if it was paused and continues.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_postgres::GenericClient;
use tokio_postgres::types::ToSql;

use super::address::Address;
use super::age::steady;
use super::failure::Failure;
use super::health::Health;
use super::session::Session;

/// Time between two heartbeats.
const BEAT: Duration = Duration::from_secs(1);
/// A heartbeat that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// After this time without a heartbeat a node counts as dead, in milliseconds. Others see a heartbeat up to a
/// second late, and its absence too, and must know of the end within 10 s.
const DEAD_MS: i64 = 7_000;
/// How long a node that has ended is remembered: longer than the directory remembers its connections. In
/// milliseconds.
const REMEMBERED_MS: i64 = 180_000;
/// Interval between checks of a node that waits for the end of another one.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// The milliseconds of PostgreSQL's clock.
macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}
const OTHERS: &str = concat!(
    "SELECT id, name, beat, beat > ",
    now!(),
    " - $1, alone, introduction FROM nodes"
);
/// The nodes that are there, and those that have ended, each with the age of its last heartbeat.
const ALL: &str = concat!(
    "SELECT id, run, introduction, beat, 0::bigint FROM nodes
     UNION ALL SELECT NULL, run, '', at, greatest(",
    now!(),
    " - at, 0) FROM ended_nodes"
);
/// Deletes the rows of nodes that have ended, and notes when. Its first part selects which.
macro_rules! delete {
    ($which:expr) => {
        concat!(
            "WITH gone AS (DELETE FROM nodes n ",
            $which,
            " RETURNING n.id, n.run, n.beat),
             noted AS (INSERT INTO ended_nodes (run, at) SELECT run, beat FROM gone WHERE run IS NOT NULL
                 ON CONFLICT DO NOTHING)
             DELETE FROM writers WHERE node IN (SELECT id FROM gone)"
        )
    };
}
/// Nodes among others are only taken for dead by a node that has watched them, because all of them are silent
/// while PostgreSQL is away.
const DELETE_DEAD: &str = delete!(concat!(
    "WHERE (n.beat <= ",
    now!(),
    " - $1 AND (n.alone OR $3)) OR n.id = ANY ($2)"
));
const DELETE_SILENT: &str =
    delete!("USING unnest($1::bigint[], $2::bigint[]) AS q(id, beat) WHERE n.id = q.id AND n.beat = q.beat");
const FORGET_ENDED: &str = concat!("DELETE FROM ended_nodes WHERE at <= ", now!(), " - $1");
const ADD: &str = concat!(
    "INSERT INTO nodes (id, name, alone, since, beat, run, introduction) VALUES ($1, $2, $3, ",
    now!(),
    ", ",
    now!(),
    ", $4, $5)"
);
/// Ends the leases of nodes that are gone.
const END_LEASES: &str = "UPDATE push_jobs SET leased_until = NULL
     WHERE leased_until IS NOT NULL AND NOT EXISTS (SELECT FROM nodes n WHERE n.id = leased_by)";
const LIVES: &str = concat!("UPDATE nodes SET beat = ", now!(), " WHERE id = $1");
const ADD_WRITER: &str = "INSERT INTO writers (node) VALUES ($1)";
/// The last heartbeat is the end, from which on the users of the node are expected back.
const LEAVE: &str = delete!("WHERE n.id = $1");
/// A heartbeat may be lost in a crash of PostgreSQL, because the next one follows.
const NOT_DURABLE: &str = "SET synchronous_commit = off";

/// Gets the introduction of another node that is running, and returns why the two may not run together.
pub type Admits = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// What a node among others says to them. Whoever can read the database can read it.
#[derive(Clone)]
pub struct Peer {
    /// Its name, which is a different one after each start.
    pub run: [u8; 16],
    /// What it says about itself.
    pub introduction: String,
    /// Whether another node may run too.
    pub admits: Arc<Admits>,
}

/// The other nodes at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes {
    /// The names of those that are running, and their introductions.
    pub running: Vec<([u8; 16], String)>,
    /// The names of those that have ended within the last minutes, and how many milliseconds ago.
    pub ended: Vec<([u8; 16], u64)>,
}

/// This node.
#[derive(Clone)]
pub(super) struct Node {
    /// A random number, a different one each time that the store is opened.
    pub(super) id: i64,
    /// Its host and process, for messages to people.
    pub(super) name: String,
    /// No other node may use the database at the same time.
    pub(super) alone: bool,
    /// What it says to other nodes.
    pub(super) peer: Option<Peer>,
}

impl Node {
    pub(super) fn new(alone: bool, peer: Option<Peer>) -> Result<Self, getrandom::Error> {
        let mut id = [0; 8];
        getrandom::fill(&mut id)?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self {
            id: i64::from_le_bytes(id),
            name: format!("process {} on {}", std::process::id(), host.trim()),
            alone,
            peer,
        })
    }

    /// Why this node may not run together with another one.
    fn refuses(&self, name: &str, is_alone: bool, introduction: &str) -> Option<Taken> {
        if is_alone || self.alone {
            return Some(Taken::Alone(name.to_owned()));
        }
        let peer = self.peer.as_ref().filter(|_| !introduction.is_empty())?;
        (peer.admits)(introduction).err().map(Taken::Differs)
    }
}

/// Why a node may not begin.
pub(super) enum Taken {
    /// One of the two must be alone. The value is the name of the other one.
    Alone(String),
    /// They may not run together, for this reason.
    Differs(String),
}

/// Whether a node may begin.
pub(super) enum Place {
    Free,
    /// A node with which this one may not run is running, or it is not certain yet that it has ended. The
    /// value is given if it is running.
    Taken(Option<Taken>),
}

/// The other nodes that a starting node has seen, by id: the last heartbeat, and when it was seen first.
#[derive(Default)]
pub(super) struct Seen(HashMap<i64, (i64, Instant)>);

impl Seen {
    /// Checks whether `node` may begin. A node that was not seen before may have ended, so this waits for its
    /// next heartbeat. One that is not seen to write any for long enough is dead, even if PostgreSQL's clock
    /// was set back.
    pub(super) async fn look(
        &mut self,
        client: &impl GenericClient,
        node: &Node,
    ) -> Result<Place, tokio_postgres::Error> {
        let mut place = Place::Free;
        for row in client.query(OTHERS, &[&DEAD_MS]).await? {
            let (id, name, beat): (i64, String, i64) = (row.get(0), row.get(1), row.get(2));
            let (is_recent, is_alone): (bool, bool) = (row.get(3), row.get(4));
            let Some(taken) = node.refuses(&name, is_alone, row.get(5)).filter(|_| is_recent) else {
                continue;
            };
            let (before, since) = *self.0.entry(id).or_insert_with(|| (beat, Instant::now()));
            if before != beat {
                return Ok(Place::Taken(Some(taken)));
            }
            if !is_long(since) {
                place = Place::Taken(None);
            }
        }
        Ok(place)
    }

    /// Nodes that were not seen to write a heartbeat for long enough.
    fn dead(&self) -> Vec<i64> {
        let silent = self.0.iter().filter(|(_, (_, since))| is_long(*since));
        silent.map(|(id, _)| *id).collect()
    }
}

fn is_long(since: Instant) -> bool {
    since.elapsed().as_millis() >= u128::from(DEAD_MS.unsigned_abs())
}

/// The nodes that a running node sees, by id: the last heartbeat, and since when it is the last one.
#[derive(Default)]
struct Watched(HashMap<i64, (i64, Instant)>);

impl Watched {
    /// Reads the other nodes. Deletes the rows of those that have written no heartbeat while this node has
    /// seen it for long enough.
    async fn look(&mut self, session: &Session, own: i64) -> Result<Nodes, Failure> {
        let mut nodes = Nodes::default();
        let (mut ids, mut beats, mut there) = (Vec::new(), Vec::new(), HashMap::new());
        let now = Instant::now();
        for row in session.query(ALL, &[]).await? {
            let (run, introduction): (Option<uuid::Uuid>, String) = (row.try_get(1)?, row.try_get(2)?);
            let run = run.map(uuid::Uuid::into_bytes);
            let (beat, ago): (i64, i64) = (row.try_get(3)?, row.try_get(4)?);
            match (row.try_get::<_, Option<i64>>(0)?, run) {
                (Some(id), run) if id != own => {
                    let seen = self.0.get(&id).filter(|(last, _)| *last == beat);
                    let since = seen.map_or(now, |(_, since)| *since);
                    there.insert(id, (beat, since));
                    if is_long(since) {
                        ids.push(id);
                        beats.push(beat);
                    } else if let Some(run) = run {
                        nodes.running.push((run, introduction));
                    }
                }
                (None, Some(run)) => nodes.ended.push((run, ago.unsigned_abs())),
                _ => {}
            }
        }
        self.0 = there;
        if !ids.is_empty() {
            session.execute(DELETE_SILENT, &[&ids, &beats]).await?;
            session.run(END_LEASES).await?;
            session.execute(FORGET_ENDED, &[&REMEMBERED_MS]).await?;
        }
        Ok(nodes)
    }

    /// Begins anew: while this node could not look, others may have been silent for the same reason.
    fn forget(&mut self) {
        self.0.clear();
    }
}

/// Adds the row of `node`, and deletes those of dead nodes.
pub(super) async fn join(
    client: &impl GenericClient,
    node: &Node,
    seen: &Seen,
) -> Result<(), tokio_postgres::Error> {
    let dead = seen.dead();
    client
        .execute(DELETE_DEAD, &[&DEAD_MS, &dead, &node.alone])
        .await?;
    client.execute(FORGET_ENDED, &[&REMEMBERED_MS]).await?;
    let run = node.peer.as_ref().map(|peer| uuid::Uuid::from_bytes(peer.run));
    let introduction = node.peer.as_ref().map_or("", |peer| &peer.introduction);
    let row: [&(dyn ToSql + Sync); 5] = [&node.id, &node.name, &node.alone, &run, &introduction];
    client.execute(ADD, &row).await?;
    client.execute(ADD_WRITER, &[&node.id]).await?;
    client.execute(END_LEASES, &[]).await?;
    Ok(())
}

/// Writes the heartbeats.
pub(super) struct Heart {
    pub(super) node: i64,
    /// Whether there may be other nodes.
    pub(super) is_shared: bool,
    pub(super) address: Address,
    pub(super) health: Arc<Health>,
    /// Gets the other nodes after each heartbeat.
    pub(super) nodes: watch::Sender<Nodes>,
}

impl Heart {
    /// Writes the first heartbeat, and the others in a task, until another node has deleted the row.
    pub(super) async fn start(self) -> Result<AbortHandle, Failure> {
        let (mut session, mut watched) = (None, Watched::default());
        self.beat(&mut session, &mut watched).await?;
        let others = async move {
            loop {
                tokio::time::sleep(BEAT).await;
                match self.beat(&mut session, &mut watched).await {
                    Ok(()) => {}
                    Err(Failure::Fenced) => return self.health.lose(),
                    Err(failure) => {
                        session = None;
                        watched.forget();
                        tracing::debug!(error = %failure.told(), "a heartbeat could not be written");
                    }
                }
            }
        };
        Ok(tokio::spawn(others).abort_handle())
    }

    async fn beat(&self, session: &mut Option<Session>, watched: &mut Watched) -> Result<(), Failure> {
        // The time is taken before the heartbeat is sent, so that PostgreSQL's time of it is not earlier.
        let begun = steady();
        let work = async {
            if session.as_ref().is_none_or(Session::is_closed) {
                let new = Session::connect(&self.address, &[]).await?;
                new.run(NOT_DURABLE).await?;
                *session = Some(new);
            }
            let session = session.as_ref().ok_or(Failure::Late)?;
            match session.execute(LIVES, &[&self.node]).await? {
                0 => return Err(Failure::Fenced),
                _ => self.health.beat(begun),
            }
            if self.is_shared {
                self.nodes.send_replace(watched.look(session, self.node).await?);
            }
            Ok(())
        };
        let outcome = tokio::time::timeout(PATIENCE, work).await;
        outcome.unwrap_or(Err(Failure::Late))
    }
}

/// Whether a node is running, or may have ended only a moment ago.
pub(super) async fn are_there(session: &Session) -> Result<bool, Failure> {
    let rows = session.query(OTHERS, &[&DEAD_MS]).await?;
    let recent = rows.iter().map(|row| row.try_get(3));
    Ok(recent.collect::<Result<Vec<bool>, _>>()?.contains(&true))
}

/// The node has ended: deletes its row, so that another one can begin at once.
pub(super) async fn leave(address: &Address, node: i64) -> Result<(), Failure> {
    let session = Session::connect(address, &[]).await?;
    session.execute(LEAVE, &[&node]).await?;
    session.run(END_LEASES).await
}
