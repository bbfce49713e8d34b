//! The watchers of settings and revocations.
//!
//! The server's own changes are reported when they are committed. The thread `store-log` looks for changes by
//! commands several times per second.

use std::collections::BTreeMap;

use mynah_store::{Revocation, Setting, Watcher};
use parking_lot::Mutex;
use rusqlite::Connection;

use super::settings;

/// The watchers, and what a new one is told first.
pub(super) struct Watchers(Mutex<Told>);

struct Told {
    watchers: Vec<Watcher>,
    settings: BTreeMap<String, Setting>,
    /// The revocations that existed at the start, for the first watcher.
    revocations: Vec<Revocation>,
}

impl Watchers {
    pub(super) fn new(settings: Vec<Setting>, revocations: Vec<Revocation>) -> Self {
        let settings = settings
            .into_iter()
            .map(|setting| (setting.name.clone(), setting));
        Self(Mutex::new(Told {
            watchers: Vec::new(),
            settings: settings.collect(),
            revocations,
        }))
    }

    /// See [`Store::watch`](mynah_store::Store::watch).
    pub(super) fn add(&self, watcher: Watcher) {
        let mut told = self.0.lock();
        match &watcher {
            Watcher::Settings(tell) => told.settings.values().for_each(tell),
            Watcher::Revocations(tell) => {
                let revocations = std::mem::take(&mut told.revocations);
                revocations.into_iter().for_each(tell);
            }
        }
        told.watchers.push(watcher);
    }

    /// Reports that a setting was changed.
    pub(super) fn tell_setting(&self, setting: &Setting) {
        let mut told = self.0.lock();
        let known = told.settings.entry(setting.name.clone());
        let known = known.or_insert_with(|| setting.clone());
        if known.version < setting.version {
            *known = setting.clone();
        }
        for watcher in &told.watchers {
            if let Watcher::Settings(tell) = watcher {
                tell(setting);
            }
        }
    }

    /// Reports that tokens were revoked.
    pub(super) fn tell_revocation(&self, revocation: &Revocation) {
        for watcher in &self.0.lock().watchers {
            if let Watcher::Revocations(tell) = watcher {
                tell(revocation.clone());
            }
        }
    }

    /// Reports the changes that commands have made.
    pub(super) fn look(&self, db: &Connection) -> rusqlite::Result<()> {
        for setting in settings::unseen(db)? {
            self.tell_setting(&setting);
            settings::saw(db, &setting)?;
        }
        Ok(())
    }
}
