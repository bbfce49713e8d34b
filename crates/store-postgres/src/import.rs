//! Copies another store into the tables (`mynah migrate`).
//!
//! Invariants: the tables were empty before, or have a part of the same store; until the copy is complete and
//! was compared with its source, no node starts with it; each table but the messages is copied in one
//! transaction, and the messages in the order of their ids, so that an interrupted copy goes on.

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use mynah_store::ids::{Cid, Uid};
use mynah_store::transfer::{MESSAGES, Row, TABLES, Table, Times};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::address::Address;
use super::batch::hash;
use super::marks;
use super::rows;
use super::schema::{self, MIGRATION};
use super::session::in_time;

/// Bytes that are sent together.
const CHUNK: usize = 4 << 20;
/// Messages of one transaction.
const BATCH: u64 = 100_000;
/// Only one copy at a time.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtext('mynah migrate'), hashtext(current_schema()))";
/// The key of `meta` with the epoch of the store that was copied.
const DONE: &str = "migrated";

/// A copy of a store that is being made.
pub struct Import {
    runtime: Runtime,
    client: Client,
    /// Lines of the table that is being copied.
    lines: String,
    waiting: u64,
    /// Whether all was copied before.
    is_done: bool,
}

impl Import {
    /// Prepares a database for the store with this epoch, or goes on with a copy of it.
    pub fn open(url: &str, schema: &str, epoch: &str) -> anyhow::Result<Self> {
        let address = Address::parse(url, schema)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (client, is_done) = runtime.block_on(Box::pin(async {
            schema::open(&address, schema, None).await?;
            let client = in_time(address.connect())
                .await
                .map_err(schema::OpenError::from)?;
            client.batch_execute("SET statement_timeout = 0").await?;
            if !client.query_one(LOCK, &[]).await?.try_get::<_, bool>(0)? {
                bail!("another `mynah migrate` copies into this database");
            }
            let begun = schema::get(&client, MIGRATION).await?;
            let done = schema::get(&client, DONE).await?;
            let is_done = match begun.as_deref() {
                Some(begun) if begun == epoch => false,
                Some(_) => bail!(
                    "the database of store.url has a part of another store: name another database, or empty it (DROP \
                     SCHEMA {schema} CASCADE)"
                ),
                None if done.as_deref() == Some(epoch) => true,
                None => {
                    check_empty(&client).await?;
                    schema::set(&client, MIGRATION, epoch).await?;
                    false
                }
            };
            Ok((client, is_done))
        }))?;
        Ok(Self {
            runtime,
            client,
            lines: String::new(),
            waiting: 0,
            is_done,
        })
    }

    /// Whether everything was copied before.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Begins a table. Returns after which id its rows are to be copied, or `None` if all are there.
    pub fn begin(&mut self, table: Table) -> anyhow::Result<Option<i64>> {
        let client = &self.client;
        let sql = match table == MESSAGES {
            true => "SELECT coalesce(max(id), 0)::bigint FROM messages".to_owned(),
            false => format!("SELECT count(*) FROM {}", table.name),
        };
        let found: i64 = self
            .runtime
            .block_on(async { client.query_one(&sql, &[]).await?.try_get(0) })?;
        if table != MESSAGES && found > 0 {
            return Ok(None);
        }
        self.runtime.block_on(client.batch_execute("BEGIN"))?;
        Ok(Some(if table == MESSAGES { found } else { 0 }))
    }

    /// Adds a row of the table that was begun.
    pub fn add(&mut self, table: Table, mut row: Row) -> anyhow::Result<()> {
        if table == MESSAGES {
            row.push(cid_hash(&row)?);
        }
        write_line(&mut self.lines, &row);
        self.waiting += 1;
        let is_full = self.lines.len() >= CHUNK;
        let is_batch = table == MESSAGES && self.waiting >= BATCH;
        if is_full || is_batch {
            self.send(table)?;
        }
        if is_batch {
            self.waiting = 0;
            self.runtime
                .block_on(self.client.batch_execute("COMMIT; BEGIN"))?;
        }
        Ok(())
    }

    /// Ends a table, and returns how many rows it has now.
    pub fn end(&mut self, table: Table) -> anyhow::Result<u64> {
        self.send(table)?;
        let count = format!("SELECT count(*) FROM {}", table.name);
        let client = &self.client;
        let count: i64 = self.runtime.block_on(async {
            client.batch_execute("COMMIT").await?;
            client.query_one(&count, &[]).await?.try_get(0)
        })?;
        Ok(count.unsigned_abs())
    }

    /// Returns how many rows a table has that was copied before.
    pub fn count(&self, table: Table) -> anyhow::Result<u64> {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        let work = async { self.client.query_one(&sql, &[]).await?.try_get::<_, i64>(0) };
        Ok(self.runtime.block_on(work)?.unsigned_abs())
    }

    fn send(&mut self, table: Table) -> anyhow::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut columns = table.columns.join(", ");
        if table == MESSAGES {
            columns.push_str(", cid_hash");
        }
        let sql = format!("COPY {} ({columns}) FROM STDIN", table.name);
        let lines = Bytes::from(std::mem::take(&mut self.lines));
        let client = &self.client;
        let work = async {
            let sink = client.copy_in(&sql).await?;
            let mut sink = std::pin::pin!(sink);
            sink.send(lines).await?;
            sink.finish().await
        };
        self.runtime
            .block_on(work)
            .with_context(|| format!("{} cannot be copied", table.name))?;
        Ok(())
    }

    /// Passes all messages to `each`, in the order of conversation and seq.
    pub fn messages_in_order(&self, mut each: impl FnMut(Row) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let sql = format!(
            "SELECT {} FROM messages ORDER BY conv, seq",
            MESSAGES.columns.join(", ")
        );
        self.runtime.block_on(async {
            let stream = self.client.simple_query_raw(&sql).await?;
            let mut stream = std::pin::pin!(stream);
            while let Some(message) = stream.try_next().await? {
                if let SimpleQueryMessage::Row(row) = message {
                    each(
                        (0..row.len())
                            .map(|column| row.get(column).map(str::to_owned))
                            .collect(),
                    )?;
                }
            }
            Ok(())
        })
    }

    /// The copy is complete: nodes may start with it. The epoch remains that of the source, and ages continue
    /// from its times.
    pub fn finish(&mut self, epoch: &str, times: Option<Times>) -> anyhow::Result<()> {
        self.runtime.block_on(Box::pin(async {
            let transaction = self.client.transaction().await?;
            for table in ["devices", "push_jobs"] {
                let next = format!(
                    "SELECT setval(pg_get_serial_sequence('{table}', 'id'), greatest((SELECT max(id) FROM {table}), 1))"
                );
                transaction.query(&next, &[]).await?;
            }
            let row = transaction
                .query_one(
                    "SELECT pg_current_xact_id()::text::bigint, coalesce((SELECT max(id) FROM messages), 0)",
                    &[],
                )
                .await?;
            let base = rows::base(0, row.try_get(1)?, row.try_get(0)?);
            schema::set(&transaction, "base", &base.to_string()).await?;
            schema::set(&transaction, "epoch", epoch).await?;
            if let Some(times) = times {
                schema::set(&transaction, "measured", &times.measured.to_string()).await?;
                schema::set(&transaction, "age", &marks::continued(times)).await?;
            }
            schema::set(&transaction, DONE, epoch).await?;
            transaction
                .execute("DELETE FROM meta WHERE key = $1", &[&MIGRATION])
                .await?;
            transaction.commit().await?;
            self.client.batch_execute("ANALYZE").await?;
            Ok(())
        }))
    }
}

async fn check_empty(client: &Client) -> anyhow::Result<()> {
    for name in TABLES.iter().map(|table| table.name).chain(["nodes"]) {
        let sql = format!("SELECT EXISTS (SELECT FROM {name})");
        if client.query_one(&sql, &[]).await?.try_get(0)? {
            bail!(
                "the database of store.url is not empty (its table {name} has rows): a store can be copied into an empty \
                 one only"
            );
        }
    }
    Ok(())
}

/// The value of the column `cid_hash`.
fn cid_hash(row: &Row) -> anyhow::Result<Option<String>> {
    let value = |name| {
        let place = MESSAGES.columns.iter().position(|column| *column == name);
        place.and_then(|place| row.get(place)?.as_deref())
    };
    let Some(cid) = value("cid") else { return Ok(None) };
    let from = value("sender").map(Uid::new).transpose()?;
    Ok(Some(hash(from.as_ref(), &Cid::new(cid)?).to_string()))
}

/// Writes a line in the text format of COPY.
fn write_line(lines: &mut String, row: &Row) {
    for (number, value) in row.iter().enumerate() {
        if number > 0 {
            lines.push('\t');
        }
        match value {
            None => lines.push_str("\\N"),
            Some(text) => text.chars().for_each(|c| match c {
                '\\' => lines.push_str("\\\\"),
                '\n' => lines.push_str("\\n"),
                '\r' => lines.push_str("\\r"),
                '\t' => lines.push_str("\\t"),
                c => lines.push(c),
            }),
        }
    }
    lines.push('\n');
}
