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

use tokio::task::AbortHandle;
use tokio_postgres::GenericClient;

use super::address::Address;
use super::age::steady;
use super::failure::Failure;
use super::health::Health;
use super::session::Session;

/// Time between two heartbeats.
const BEAT: Duration = Duration::from_secs(1);
/// A heartbeat that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// After this time without a heartbeat a node counts as dead. In milliseconds.
const DEAD_MS: i64 = 8_000;
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
    " - $1, alone FROM nodes"
);
const DELETE_DEAD: &str = concat!(
    "WITH dead AS (DELETE FROM nodes WHERE beat <= ",
    now!(),
    " - $1 OR id = ANY ($2) RETURNING id)
     DELETE FROM writers WHERE node IN (SELECT id FROM dead)"
);
const ADD: &str = concat!(
    "INSERT INTO nodes (id, name, alone, since, beat) VALUES ($1, $2, $3, ",
    now!(),
    ", ",
    now!(),
    ")"
);
/// Ends the leases of nodes that are gone.
const END_LEASES: &str = "UPDATE push_jobs SET leased_until = NULL
     WHERE leased_until IS NOT NULL AND NOT EXISTS (SELECT FROM nodes n WHERE n.id = leased_by)";
const LIVES: &str = concat!("UPDATE nodes SET beat = ", now!(), " WHERE id = $1");
const ADD_WRITER: &str = "INSERT INTO writers (node) VALUES ($1)";
const LEAVE: &str = "WITH own AS (DELETE FROM nodes WHERE id = $1) DELETE FROM writers WHERE node = $1";
/// A heartbeat may be lost in a crash of PostgreSQL, because the next one follows.
const NOT_DURABLE: &str = "SET synchronous_commit = off";

/// This node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// A random number, a different one each time that the store is opened.
    pub(super) id: i64,
    /// Its host and process, for messages to people.
    pub(super) name: String,
    /// No other node may use the database at the same time.
    pub(super) alone: bool,
}

impl Node {
    pub(super) fn new(alone: bool) -> Result<Self, getrandom::Error> {
        let mut id = [0; 8];
        getrandom::fill(&mut id)?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self {
            id: i64::from_le_bytes(id),
            name: format!("process {} on {}", std::process::id(), host.trim()),
            alone,
        })
    }
}

/// Whether a node may begin.
pub(super) enum Place {
    Free,
    /// Another node is running, or it is not certain yet that it has ended. The value is its name if it is
    /// running.
    Taken(Option<String>),
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
            if !is_recent || !(is_alone || node.alone) {
                continue;
            }
            let (before, since) = *self.0.entry(id).or_insert_with(|| (beat, Instant::now()));
            if before != beat {
                return Ok(Place::Taken(Some(name)));
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

/// Adds the row of `node`, and deletes those of dead nodes.
pub(super) async fn join(
    client: &impl GenericClient,
    node: &Node,
    seen: &Seen,
) -> Result<(), tokio_postgres::Error> {
    client.execute(DELETE_DEAD, &[&DEAD_MS, &seen.dead()]).await?;
    client.execute(ADD, &[&node.id, &node.name, &node.alone]).await?;
    client.execute(ADD_WRITER, &[&node.id]).await?;
    client.execute(END_LEASES, &[]).await?;
    Ok(())
}

/// Writes the heartbeats.
pub(super) struct Heart {
    pub(super) node: i64,
    pub(super) address: Address,
    pub(super) health: Arc<Health>,
}

impl Heart {
    /// Writes the first heartbeat, and the others in a task, until another node has deleted the row.
    pub(super) async fn start(self) -> Result<AbortHandle, Failure> {
        let mut session = None;
        self.beat(&mut session).await?;
        let others = async move {
            loop {
                tokio::time::sleep(BEAT).await;
                match self.beat(&mut session).await {
                    Ok(()) => {}
                    Err(Failure::Fenced) => return self.health.lose(),
                    Err(failure) => {
                        session = None;
                        tracing::debug!(error = %failure.told(), "a heartbeat could not be written");
                    }
                }
            }
        };
        Ok(tokio::spawn(others).abort_handle())
    }

    async fn beat(&self, session: &mut Option<Session>) -> Result<(), Failure> {
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
                0 => Err(Failure::Fenced),
                _ => {
                    self.health.beat(begun);
                    Ok(())
                }
            }
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
