//! sid -> session, sharded so that handshakes on several threads do not wait for one another.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::session::{Session, Sid};

const SHARDS: usize = 16;

/// All sessions of a server, from handshake to end.
#[derive(Default)]
pub(crate) struct Sessions {
    shards: [Mutex<HashMap<Sid, Session>>; SHARDS],
}

impl Sessions {
    fn shard(&self, sid: &Sid) -> &Mutex<HashMap<Sid, Session>> {
        let last = sid.as_str().as_bytes().last().copied().unwrap_or_default();
        &self.shards[usize::from(last) % SHARDS]
    }

    pub(crate) fn insert(&self, session: Session) {
        self.shard(&session.key()).lock().insert(session.key(), session);
    }

    pub(crate) fn get(&self, sid: &Sid) -> Option<Session> {
        self.shard(sid).lock().get(sid).cloned()
    }

    /// Whether it was there.
    pub(crate) fn remove(&self, sid: &Sid) -> bool {
        self.shard(sid).lock().remove(sid).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// All of them at this moment.
    pub(crate) fn all(&self) -> Vec<Session> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>())
            .collect()
    }
}
