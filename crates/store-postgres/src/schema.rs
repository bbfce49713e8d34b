//! The tables, and the migration of older ones.
//!
//! Invariants: `meta` says how many of the [`STEPS`] were applied to a database. A released step is never
//! changed; later changes are further steps. Only one node at a time checks and migrates, because it holds an
//! advisory lock; a failed migration changes nothing.
//!
//! docs/POSTGRES.md says what each index is for.

use tokio_postgres::{Client, GenericClient, Transaction};
use uuid::Uuid;

use super::address::Address;
use super::failure::{Failure, explain};
use super::nodes::{self, LOOK, Node, Place, Seen, Taken};
use super::rows;
use super::session::{PATIENCE, in_time};

/// Step `n` takes a database from version `n` to `n + 1`.
const STEPS: &[&str] = &[include_str!("schema/1.sql")];

/// The oldest server that is supported, as `server_version_num`.
const OLDEST_SERVER: i32 = 130_000;
/// The advisory lock of nodes that check the schema.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('mynah schema'), hashtext($1))";

/// Why the database cannot be used; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is wrong.
    #[error(transparent)]
    Address(#[from] super::address::AddressError),
    /// The server cannot be reached, or it refuses.
    #[error("cannot use the database of store.url: {0}")]
    Unavailable(String),
    /// The server is too old.
    #[error("store.url: PostgreSQL {found} is too old; version 13 or later is needed")]
    Server {
        /// Its version.
        found: String,
    },
    /// The database has another encoding.
    #[error("store.url: the database has the encoding {found}; create one with ENCODING 'UTF8'")]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// The server is a standby.
    #[error("store.url: this PostgreSQL server is read-only (a standby?); name the primary")]
    ReadOnly,
    /// The schema has tables of another program.
    #[error("store.url: the schema {schema} has tables that are not Mynah's; name another database")]
    Foreign {
        /// The schema.
        schema: String,
    },
    /// This node may not run together with another one that is running. The text says why.
    #[error("{0}")]
    Differs(String),
    /// Another node uses the database.
    #[error(
        "the database of store.url is in use by another node ({name}); stop it, or name another database"
    )]
    Taken {
        /// Its host and process.
        name: String,
    },
    /// `mynah migrate` has begun to copy a store into it.
    #[error(
        "the database of store.url has only a part of a store: run `mynah migrate` again until it succeeds"
    )]
    Unfinished,
    /// A newer version of the program has written it.
    #[error(
        "store.url: the schema {schema} has version {found}, this program knows versions up to {known}; \
         use the newer program"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// Its version.
        found: usize,
        /// The newest version that this program knows.
        known: usize,
    },
    /// The name of the schema is invalid.
    #[error("the schema must be 1 to 63 letters a to z, digits and underscores, not {0:?}")]
    Schema(String),
    /// The runtime of the store could not be started.
    #[error("cannot start the store's threads: {0}")]
    Threads(std::io::Error),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(match failure {
            Failure::Broken(error) => explain(&error),
            other => other.told().to_string(),
        })
    }
}

impl From<tokio_postgres::Error> for OpenError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Unavailable(explain(&error))
    }
}

/// The state of a database that is ready.
pub(super) struct Opened {
    pub(super) epoch: String,
    /// See `rows::base`.
    pub(super) base: i64,
    /// The measured time that was stored last.
    pub(super) measured: Option<u64>,
    /// The id of the newest message.
    pub(super) mid: Option<Uuid>,
}

/// The key of `meta` with the epoch of the store that is being copied into these tables.
pub(super) const MIGRATION: &str = "migration";

/// Stores the measured time.
pub(super) const SAVE_MEASURED: &str =
    "INSERT INTO meta AS m (key, value) VALUES ('measured', $1::bigint::text)
     ON CONFLICT (key) DO UPDATE SET value = greatest(m.value::bigint, excluded.value::bigint)::text";

/// Creates or migrates the tables, checks that they can be used, and adds the row of `node`. Waits until it
/// is certain whether a node that did not stop in order has ended.
pub(super) async fn open(address: &Address, schema: &str, node: Option<&Node>) -> Result<Opened, OpenError> {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let starts = schema.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if schema.len() > 63 || !starts || !schema.bytes().all(valid) || schema.starts_with("pg_") {
        return Err(OpenError::Schema(schema.to_owned()));
    }
    let mut client = in_time(address.connect()).await?;
    tokio::time::timeout(PATIENCE, check_server(&client))
        .await
        .map_err(|_| Failure::Late)??;
    let mut seen = Seen::default();
    loop {
        let attempt = tokio::time::timeout(PATIENCE, begin(&mut client, schema, node, &mut seen));
        if let Some((transaction, found)) = attempt.await.map_err(|_| Failure::Late)?? {
            let node = node.map(|node| (node, &seen));
            return finish(transaction, found, node).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Begins the transaction that opens the database, and returns it with the version of the tables. `None` if
/// another node must be waited for.
async fn begin<'a>(
    client: &'a mut Client,
    schema: &str,
    node: Option<&Node>,
    seen: &mut Seen,
) -> Result<Option<(Transaction<'a>, usize)>, OpenError> {
    let transaction = client.transaction().await?;
    transaction.execute(LOCK, &[&schema]).await?;
    let found = version(&transaction, schema).await?;
    if found > STEPS.len() {
        return Err(OpenError::Newer {
            schema: schema.to_owned(),
            found,
            known: STEPS.len(),
        });
    }
    if let Some(node) = node.filter(|_| found > 0) {
        if get(&transaction, MIGRATION).await?.is_some() {
            return Err(OpenError::Unfinished);
        }
        match seen.look(&transaction, node).await? {
            Place::Free => {}
            Place::Taken(None) => return Ok(None),
            Place::Taken(Some(Taken::Alone(name))) => return Err(OpenError::Taken { name }),
            Place::Taken(Some(Taken::Differs(why))) => return Err(OpenError::Differs(why)),
        }
    }
    Ok(Some((transaction, found)))
}

/// Migrates the tables from version `found` to the present one. There is no time limit.
async fn finish(
    transaction: Transaction<'_>,
    found: usize,
    node: Option<(&Node, &Seen)>,
) -> Result<Opened, OpenError> {
    transaction
        .batch_execute("SET LOCAL statement_timeout = 0")
        .await?;
    for step in &STEPS[found..] {
        transaction.batch_execute(step).await?;
    }
    if found < STEPS.len() {
        set(&transaction, "version", &STEPS.len().to_string()).await?;
    }
    if let Some((node, seen)) = node {
        nodes::join(&transaction, node, seen).await?;
    }
    let opened = identify(&transaction).await?;
    transaction.commit().await?;
    Ok(opened)
}

async fn check_server(client: &Client) -> Result<(), OpenError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                 current_setting('server_encoding'), pg_is_in_recovery() OR current_setting('transaction_read_only')::bool",
            &[],
        )
        .await?;
    let (number, version, encoding): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST_SERVER {
        return Err(OpenError::Server { found: version });
    }
    if encoding != "UTF8" {
        return Err(OpenError::Encoding { found: encoding });
    }
    match row.get(3) {
        true => Err(OpenError::ReadOnly),
        false => Ok(()),
    }
}

/// Returns the version of the tables; 0 if there are none yet. The schema exists afterwards.
async fn version(client: &impl GenericClient, schema: &str) -> Result<usize, OpenError> {
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1),
                 EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1),
                 to_regclass(quote_ident($1) || '.meta') IS NOT NULL",
            &[&schema],
        )
        .await?;
    let foreign = || OpenError::Foreign {
        schema: schema.to_owned(),
    };
    match (row.get(0), row.get(1), row.get(2)) {
        (true, true, true) => {
            let rows = client
                .query("SELECT value FROM meta WHERE key = 'version'", &[])
                .await
                .map_err(|_| foreign())?;
            let text: Option<&str> = rows.first().and_then(|row| row.try_get(0).ok());
            return text.and_then(|text| text.parse().ok()).ok_or_else(foreign);
        }
        (true, true, false) => return Err(foreign()),
        (false, _, _) => client.batch_execute(&format!("CREATE SCHEMA {schema}")).await?,
        (true, false, _) => {}
    }
    client
        .batch_execute("CREATE TABLE meta (key text COLLATE \"C\" PRIMARY KEY, value text NOT NULL)")
        .await?;
    Ok(0)
}

pub(super) async fn get(client: &impl GenericClient, key: &str) -> Result<Option<String>, OpenError> {
    let rows = client
        .query("SELECT value FROM meta WHERE key = $1", &[&key])
        .await?;
    Ok(rows.first().map(|row| row.get(0)))
}

pub(super) async fn set(client: &impl GenericClient, key: &str, value: &str) -> Result<(), OpenError> {
    client
        .execute(
            "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            &[&key, &value],
        )
        .await?;
    Ok(())
}

/// Reads the epoch, and checks whether these are the original tables: a restored table has another object id,
/// and another server another identifier. If they are a copy, what was written after the copy was made is
/// missing, so the epoch changes.
async fn identify(client: &impl GenericClient) -> Result<Opened, OpenError> {
    let row = client
        .query_one(
            "SELECT (SELECT system_identifier FROM pg_control_system())::text || '.' || 'meta'::regclass::oid,
                 pg_snapshot_xmax(pg_current_snapshot())::text::bigint, greatest((SELECT max(id) FROM messages), (SELECT max(stamp) FROM revocations), 0)",
            &[],
        )
        .await?;
    let (system, transaction, newest): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let known = get(client, "system").await?;
    let before: i64 = get(client, "base")
        .await?
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let base = rows::base(before, newest, transaction);
    let epoch = get(client, "epoch").await?;
    let epoch = match epoch.filter(|_| known.as_deref() == Some(&system) && base == before) {
        Some(epoch) => epoch,
        None => {
            if known.is_some() {
                tracing::warn!(
                    "The database was restored from a copy: clients are told that the history has changed."
                );
            }
            let epoch = Uuid::from_bytes(random()?).simple().to_string();
            set(client, "epoch", &epoch).await?;
            set(client, "system", &system).await?;
            set(client, "base", &base.to_string()).await?;
            epoch
        }
    };
    let measured = get(client, "measured").await?.and_then(|text| text.parse().ok());
    let mid = client
        .query_opt("SELECT mid FROM messages ORDER BY id DESC LIMIT 1", &[])
        .await?
        .map(|row| row.get(0));
    Ok(Opened {
        epoch,
        base,
        measured,
        mid,
    })
}

fn random() -> Result<[u8; 16], OpenError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| OpenError::Unavailable(error.to_string()))?;
    Ok(bytes)
}
