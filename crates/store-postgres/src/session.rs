//! One connection to PostgreSQL, with its prepared statements.
//!
//! Invariants: each statement is prepared once per connection; nobody waits for an answer longer than the
//! limit; requests that are made together are sent together and executed in their order, if their statements
//! were prepared before.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::address::Address;
use super::failure::Failure;

/// A parameter of a statement.
pub(super) type Value<'a> = &'a (dyn ToSql + Sync);

/// How long an answer of PostgreSQL may take. The server gives up a little earlier (`address.rs`).
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// See the module.
pub(super) struct Session {
    client: Client,
    prepared: Mutex<HashMap<&'static str, Statement>>,
}

impl Session {
    /// Connects. `prepare` are statements that are going to be sent together with others.
    pub(super) async fn connect(address: &Address, prepare: &[&'static str]) -> Result<Self, Failure> {
        let client = in_time(address.connect()).await?;
        let session = Self {
            client,
            prepared: Mutex::default(),
        };
        let all = prepare.iter().map(|sql| session.statement(sql));
        in_time(futures_util::future::try_join_all(all)).await?;
        Ok(session)
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    async fn statement(&self, sql: &'static str) -> Result<Statement, Failure> {
        let known = self.prepared.lock().get(sql).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let prepared = self.client.prepare(sql).await?;
        self.prepared.lock().insert(sql, prepared.clone());
        Ok(prepared)
    }

    /// Runs a statement and returns its rows.
    pub(super) async fn query(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, values).await?)
    }

    /// Runs a statement and returns how many rows it has changed.
    pub(super) async fn execute(&self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Failure> {
        let statement = self.statement(sql).await?;
        Ok(self.client.execute(&statement, values).await?)
    }

    /// Runs statements without values, such as BEGIN.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.client.batch_execute(sql).await?)
    }
}

/// Waits no longer than [`PATIENCE`].
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or(Err(Failure::Late))
}
