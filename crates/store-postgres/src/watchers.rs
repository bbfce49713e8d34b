//! The watchers of settings and revocations. Changes of this node are reported at once, those of other nodes
//! are searched every second.
//!
//! Invariants: a reported setting is not older than what was reported before; a revocation may be reported
//! again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mynah_store::follow::Point;
use mynah_store::{Revocation, Setting, UnixMillis, Watcher};
use parking_lot::Mutex;

use super::failure::Failure;
use super::pool::Pool;
use super::session::Session;
use super::{revocations, settings};

/// Time between two searches.
const LOOK: Duration = Duration::from_secs(1);
struct State {
    watchers: Vec<Watcher>,
    settings: BTreeMap<String, Setting>,
    /// Revocations that were not reported to anybody yet.
    untold: Vec<Revocation>,
    /// Revocations from before this moment were reported.
    told: Point,
}

/// See the module.
pub(super) struct Watchers {
    base: i64,
    state: Mutex<State>,
}

/// The settings, and the revocations that have changed.
pub(super) struct Found {
    settings: Vec<Setting>,
    revocations: Vec<Revocation>,
    point: Point,
}

/// Reads all settings, and the revocations that have changed since `told` and are not forgotten at `now`.
pub(super) async fn look(
    session: &Session,
    base: i64,
    told: &Point,
    now: UnixMillis,
) -> Result<Found, Failure> {
    let (revocations, point) = revocations::since(session, base, told, now).await?;
    Ok(Found {
        settings: settings::all(session).await?,
        revocations,
        point,
    })
}

impl Watchers {
    /// Begins with the state when the store was opened. `base` is added to all ids.
    pub(super) fn new(base: i64, begin: Found) -> Self {
        let settings = begin.settings.into_iter();
        let state = State {
            watchers: Vec::new(),
            settings: settings.map(|it| (it.name.clone(), it)).collect(),
            untold: begin.revocations,
            told: begin.point,
        };
        Self {
            base,
            state: Mutex::new(state),
        }
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
            let (told, base) = (self.state.lock().told.clone(), self.base);
            // A failure is logged where it happens.
            let Ok(found) = pool
                .run(told, move |session, told| Box::pin(look(session, base, told, 0)))
                .await
            else {
                continue;
            };
            found.settings.into_iter().for_each(|setting| self.set(setting));
            found
                .revocations
                .iter()
                .for_each(|revocation| self.revoked(revocation));
            self.state.lock().told = found.point;
        }
    }
}
