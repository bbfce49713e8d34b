//! The watchers of settings and revocations. Changes of this node are reported at once, those of other nodes
//! are searched every second.
//!
//! Invariants: a reported setting is not older than what was reported before; a revocation may be reported
//! again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mynah_store::{Revocation, Setting, Watcher};
use parking_lot::Mutex;

use super::failure::Failure;
use super::pool::Pool;
use super::session::Session;
use super::values::Columns;
use super::{revocations, settings};

/// Time between two searches.
const LOOK: Duration = Duration::from_secs(1);
/// All transactions before this one have ended.
const FLOOR: &str = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";

#[derive(Default)]
struct State {
    watchers: Vec<Watcher>,
    settings: BTreeMap<String, Setting>,
    /// Revocations that were not reported to anybody yet.
    untold: Vec<Revocation>,
    /// Revocations of transactions before this one were reported.
    told: i64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Watchers {
    state: Mutex<State>,
}

/// The result of a search.
pub(super) struct Found {
    floor: i64,
    settings: Vec<Setting>,
    revocations: Vec<Revocation>,
}

/// Reads the changes since transaction `told`.
pub(super) async fn look(session: &Session, told: i64) -> Result<Found, Failure> {
    let rows = session.query(FLOOR, &[]).await?;
    let floor = Columns::of(rows.first().ok_or(Failure::Defect("no floor"))?).take()?;
    Ok(Found {
        floor,
        settings: settings::all(session).await?,
        revocations: revocations::since(session, told).await?,
    })
}

impl Watchers {
    /// Begins with the state when the store was opened, before transaction `told`.
    pub(super) fn begin(&self, settings: Vec<Setting>, revocations: Vec<Revocation>, told: i64) {
        let mut state = self.state.lock();
        state.settings = settings.into_iter().map(|it| (it.name.clone(), it)).collect();
        (state.untold, state.told) = (revocations, told);
    }

    /// Reports the present state to a new watcher.
    pub(super) fn watch(&self, watcher: Watcher) {
        let mut state = self.state.lock();
        match &watcher {
            Watcher::Settings(tell) => state.settings.values().for_each(tell),
            Watcher::Revocations(tell) => std::mem::take(&mut state.untold).into_iter().for_each(tell),
        }
        state.watchers.push(watcher);
    }

    /// A revocation was stored.
    pub(super) fn revoked(&self, revocation: &Revocation) {
        let mut state = self.state.lock();
        let mut is_told = false;
        for watcher in &state.watchers {
            if let Watcher::Revocations(tell) = watcher {
                tell(revocation.clone());
                is_told = true;
            }
        }
        if !is_told {
            state.untold.push(revocation.clone());
        }
    }

    /// A setting was stored.
    pub(super) fn set(&self, setting: Setting) {
        let mut state = self.state.lock();
        let known = state.settings.get(&setting.name);
        if known.is_some_and(|known| known.version >= setting.version) {
            return;
        }
        for watcher in &state.watchers {
            if let Watcher::Settings(tell) = watcher {
                tell(&setting);
            }
        }
        state.settings.insert(setting.name.clone(), setting);
    }

    /// Searches for changes of other nodes, until it is dropped.
    pub(super) async fn follow(self: Arc<Self>, pool: Arc<Pool>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let told = self.state.lock().told;
            // A failure is logged where it happens.
            let Ok(found) = pool
                .run(told, |session, told| Box::pin(look(session, *told)))
                .await
            else {
                continue;
            };
            found.settings.into_iter().for_each(|setting| self.set(setting));
            found
                .revocations
                .iter()
                .for_each(|revocation| self.revoked(revocation));
            self.state.lock().told = found.floor;
        }
    }
}
