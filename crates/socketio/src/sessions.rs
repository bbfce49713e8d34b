//! All sessions of a server: opens a session, finds it by its sid, and removes it.
//!
//! The table is sharded so that handshakes on several threads do not wait for one another. Invariant: a
//! session is in the table, and counted by the admission, from its handshake until [`Sessions::forget`].

use std::collections::HashMap;
use std::sync::Arc;

use mynah_front::AdmittedSession;
use mynah_wire::engine::{self, Dialect, HttpError, Transport};
use parking_lot::Mutex;

use crate::encoded::Outgoing;
use crate::handshake::Handshake;
use crate::receiver::{Acceptor, Receiver};
use crate::session::Session;
use crate::shared::Shared;
use crate::sid::Sid;

const SHARDS: usize = 16;

/// All sessions of a server, from their handshake to their end.
pub(crate) struct Sessions {
    shared: Arc<Shared>,
    acceptor: Box<dyn Acceptor>,
    shards: [Mutex<HashMap<Sid, Session>>; SHARDS],
}

impl Sessions {
    pub(crate) fn new(shared: Arc<Shared>, acceptor: Box<dyn Acceptor>) -> Self {
        Self {
            shared,
            acceptor,
            shards: Default::default(),
        }
    }

    /// The state that the sessions share.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Opens a session and creates the layer above it. The open packet is the first in its queue.
    pub(crate) fn open(
        &self,
        handshake: Handshake,
        dialect: Dialect,
        admitted: AdmittedSession,
    ) -> Result<(Session, Box<dyn Receiver>), HttpError> {
        let sid = Sid::random().map_err(|error| {
            tracing::error!(%error, "the system returned no random bytes for a session id");
            HttpError::BadRequest
        })?;
        let sid = self.shared.config.sid_tag.map_or(sid, |tag| sid.tagged(tag));
        let session = Session::new(sid, &handshake, dialect, self.shared.clone());
        let upgrades: &[Transport] = match handshake.transport {
            Transport::Polling => &[Transport::WebSocket],
            Transport::WebSocket => &[],
        };
        let (times, max_payload) = (&self.shared.times, self.shared.config.max_payload_bytes);
        let open = engine::open_packet(session.sid(), upgrades, times, max_payload);
        session.enqueue([Outgoing::open(&open)]);
        let receiver = self.acceptor.open(&session, handshake);
        // The session is inserted only here: nothing can panic between this and its task, which removes it
        // again.
        self.insert(session.clone());
        admitted.hand_over();
        Ok((session, receiver))
    }

    /// Removes a session from the table, and from the admission's count if it was in the table.
    pub(crate) fn forget(&self, session: &Session) {
        if self.remove(&session.key()) {
            let admission = &self.shared.config.admission;
            admission.leave(session.address().ip());
        }
    }

    fn shard(&self, sid: &Sid) -> &Mutex<HashMap<Sid, Session>> {
        let last = sid.as_str().as_bytes().last().copied().unwrap_or_default();
        &self.shards[usize::from(last) % SHARDS]
    }

    fn insert(&self, session: Session) {
        self.shard(&session.key()).lock().insert(session.key(), session);
    }

    /// Returns whether the session was in the table.
    fn remove(&self, sid: &Sid) -> bool {
        let mut shard = self.shard(sid).lock();
        let removed = shard.remove(sid).is_some();
        // Frees the memory that a flood of sessions needed.
        if shard.len() * 8 < shard.capacity() && shard.capacity() > 1_024 {
            let twice = shard.len() * 2;
            shard.shrink_to(twice);
        }
        removed
    }

    pub(crate) fn get(&self, sid: &Sid) -> Option<Session> {
        self.shard(sid).lock().get(sid).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// All sessions at this moment.
    pub(crate) fn all(&self) -> Vec<Session> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>())
            .collect()
    }
}
