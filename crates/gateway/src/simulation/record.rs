//! The process of the store: with one node it dies with the node, with several it stays, as PostgreSQL does.

use std::path::Path;
use std::sync::Arc;

use super::hub::Hub;
use crate::clock;
use crate::config::{Config, Durability};
use crate::ids::ConvId;
use crate::random;
use crate::store::embedded::{Clock, Options, stepped};
use crate::testing::shared::Shared;

/// The store of all nodes.
pub(super) struct Record {
    pub(super) store: Arc<Shared>,
    pub(super) stepper: stepped::Stepper,
}

impl Record {
    /// Opens the store.
    pub(super) fn open(config: &Config, directory: &Path) -> Self {
        let options = Options {
            durability: Durability::Process,
            dedupe_window_ms: config.limits.dedupe_window_ms,
            max_members: config.limits.members,
            max_devices: config.limits.devices_per_user,
            new_members_see_all: config.teams.history_for_new_members,
            // Few, so that tests see how they are moved.
            fresh_cids: 5,
            random: random::fill,
            clock: Clock::new(clock::unix_millis, clock::steady_millis),
            ..Options::new(directory)
        };
        let (store, stepper) = stepped::open(options).expect("the store opens after any crash");
        Self {
            store: Arc::new(Shared::new(Arc::new(store))),
            stepper,
        }
    }

    /// Checks that the conversations on the disk are exactly those that were committed.
    pub(super) fn survived(&self, hub: &Hub) {
        let Some(db) = self.stepper.db() else { return };
        let mut select = db
            .prepare("SELECT c.conv, c.head, (SELECT count(*) FROM messages m WHERE m.conv_id = c.id) FROM conversations c")
            .expect("the heads can be read");
        let rows = select.query_map([], |row| {
            Ok((
                ConvId(row.get(0)?),
                row.get::<_, i64>(1)?.unsigned_abs(),
                row.get::<_, i64>(2)?.unsigned_abs(),
            ))
        });
        let mut due = hub.lock().truth.heads();
        for row in rows.expect("the heads can be read") {
            let (conv, head, messages) = row.expect("a head");
            let known = due.remove(&conv);
            hub.check(known == Some(head) && messages == head, || {
                format!("{conv} has {messages} messages and head {head} on the disk, not {known:?}")
            });
        }
        hub.check(due.is_empty(), || format!("{due:?} are not on the disk"));
    }

    /// Returns the number of push jobs that are not done.
    pub(super) fn jobs(&self) -> u64 {
        let count = |db: &rusqlite::Connection| {
            db.query_row("SELECT count(*) FROM push_jobs WHERE dead = 0", [], |row| {
                row.get::<_, i64>(0)
            })
        };
        let db = self.stepper.db();
        db.map_or(0, |db| count(db).expect("jobs can be counted").unsigned_abs())
    }
}
