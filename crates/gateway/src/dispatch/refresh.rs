//! Keeps the connections of this node in the directory, and repairs what the directory has lost.
//!
//! Invariant: within seconds after the directory can be reached again, every registered connection is in it,
//! and every connection that it does not allow has ended.

use std::sync::Arc;
use std::time::Duration;

use mynah_cluster::{Failure, Held, Order, REFRESH_EVERY, Refreshed};

use super::claim::tell;
use super::entries::Entries;
use super::login::Login;
use super::unregister::By;

/// How many connections are refreshed at once, at least.
const AT_ONCE: usize = 500;
/// The wait after a failed claim, or between attempts while the directory cannot be reached.
const SOON: Duration = Duration::from_secs(1);

/// Refreshes all connections from time to time, and after each interruption at once.
pub(super) async fn refresh(login: Arc<Login>) {
    let Some(entries) = &login.entries else { return };
    let mut interruptions = entries.cluster.directory().interruptions();
    loop {
        tokio::select! {
            () = tokio::time::sleep(REFRESH_EVERY) => {}
            changed = interruptions.changed() => if changed.is_err() { return },
            () = entries.failed.notified() => tokio::time::sleep(SOON).await,
        }
        interruptions.mark_unchanged();
        while let Err(failure) = refresh_all(&login, entries).await {
            tracing::debug!(%failure, "the directory is refreshed later");
            tokio::time::sleep(SOON).await;
        }
    }
}

async fn refresh_all(login: &Login, entries: &Entries) -> Result<(), Failure> {
    let mut held = Vec::new();
    for part in 0.. {
        let is_part = login.registry.claims(part, |link, registration, claim| {
            held.push(Held {
                uid: registration.uid.clone(),
                entry: entries.entry(link, registration),
                order: Order(claim),
            });
        });
        // What is left of the last part is refreshed even if it is nothing: the directory then repeats
        // releases.
        if !is_part || held.len() >= AT_ONCE {
            refresh_some(login, entries, std::mem::take(&mut held)).await?;
        }
        if !is_part {
            break;
        }
    }
    Ok(())
}

async fn refresh_some(login: &Login, entries: &Entries, held: Vec<Held>) -> Result<(), Failure> {
    let is_registered = |held: &Held| {
        let is_it = |link: &crate::session::Link| link.outlet().sid() == &*held.entry.sid;
        login.registry.has_claim(&held.uid, held.order.0, is_it)
    };
    let refreshed = entries.cluster.directory().refresh(&held, is_registered).await?;
    for (held, refreshed) in held.into_iter().zip(refreshed) {
        match refreshed {
            Refreshed::Kept | Refreshed::Ended => {}
            Refreshed::Restored { ousted } => {
                let by = By {
                    device: Some(&held.entry.device),
                    platform: held.entry.platform.as_deref(),
                };
                tell(login, &held.uid, ousted, &by);
                // What was sent to the user meanwhile is delivered from the record.
            }
            Refreshed::Removed { ousted } => tell(login, &held.uid, ousted, &By::default()),
            Refreshed::Failed(failure) => {
                tracing::debug!(%failure, uid = %held.uid, "a connection is not in the directory");
            }
        }
    }
    Ok(())
}
