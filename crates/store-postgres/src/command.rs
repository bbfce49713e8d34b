//! Reads and changes settings for commands such as `mynah api-key`, whether nodes run or not.
//!
//! Invariant: a change is one transaction, so that concurrent changes are not lost.

use std::future::Future;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::address::Address;
use super::failure::Failure;
use super::nodes;
use super::schema::{self, OpenError};
use super::session::{Session, in_time};
use super::settings;

/// The time in which all nodes have noticed a change (`watchers.rs`).
const NOTICED: Duration = Duration::from_millis(1_500);

/// Returns the present text of a setting; empty if it was never set. Changes nothing in the database.
pub fn read_setting(url: &str, schema: &str, name: &str) -> Result<String, OpenError> {
    let address = Address::parse(url, schema)?;
    wait(async {
        let session = Session::connect(&address, &[]).await?;
        let settings = match in_time(settings::all(&session)).await {
            // Nothing has used the database yet.
            Err(Failure::Broken(error)) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Vec::new(),
            settings => settings?,
        };
        let found = settings.into_iter().find(|setting| setting.name == name);
        Ok(found.map(|setting| setting.text).unwrap_or_default())
    })
}

/// Changes a setting in one transaction. `change` gets the present text, and returns the new one, or `None`
/// to leave it unchanged; if it fails, nothing is changed, and its error is the inner one. The tables are
/// created if they do not exist. Returns when nodes that run have had the time to notice the change.
pub fn change_setting<E>(
    (url, schema): (&str, &str),
    name: &str,
    change: impl FnOnce(&str) -> Result<Option<String>, E>,
) -> Result<Result<(), E>, OpenError> {
    let address = Address::parse(url, schema)?;
    wait(async {
        schema::open(&address, schema, None).await?;
        let session = Session::connect(&address, &[]).await?;
        let mut outcome = Ok(());
        let changing = |text: &str| {
            change(text).unwrap_or_else(|error| {
                outcome = Err(error);
                None
            })
        };
        let work = async {
            session.run("BEGIN").await?;
            let changed = settings::change(&session, name, changing).await?;
            session.run("COMMIT").await?;
            Ok(changed.is_some() && nodes::are_there(&session).await?)
        };
        if in_time(work).await? {
            tokio::time::sleep(NOTICED).await;
        }
        Ok(outcome)
    })
}

/// Runs `work` on this thread.
fn wait<T>(work: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(OpenError::Threads)?;
    runtime.block_on(work)
}
