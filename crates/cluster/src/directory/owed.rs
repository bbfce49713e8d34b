//! Releases that Redis has not confirmed.
//!
//! Invariant: their number is bounded. What is forgotten beyond it expires in Redis.

use std::collections::HashSet;

use mynah_store::ids::Uid;
use parking_lot::Mutex;

/// The maximum number of releases that are remembered.
const MOST: usize = 100_000;

/// See the module.
#[derive(Default)]
pub(super) struct Owed(Mutex<HashSet<(Uid, Box<str>)>>);

impl Owed {
    pub(super) fn add(&self, uid: &Uid, sid: &str) {
        let mut owed = self.0.lock();
        if owed.len() < MOST {
            owed.insert((uid.clone(), sid.into()));
        }
    }

    /// The connection claims again. Returns whether its release was owed.
    pub(super) fn cancel(&self, uid: &Uid, sid: &str) -> bool {
        let mut owed = self.0.lock();
        !owed.is_empty() && owed.remove(&(uid.clone(), sid.into()))
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Vec<(Uid, Box<str>)> {
        std::mem::take(&mut *self.0.lock()).into_iter().collect()
    }
}
