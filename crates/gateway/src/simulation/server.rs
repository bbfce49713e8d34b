//! One process of the server, from its start with what is on the disk to a crash that leaves only that.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::hub::Hub;
use super::receiver::Receiver;
use super::watched::Watched;
use crate::builder::Builder;
use crate::clock;
use crate::config::{Config, Durability};
use crate::gateway::{Gateway, Running};
use crate::ids::ConvId;
use crate::metrics::Metrics;
use crate::push::Provider;
use crate::random;
use crate::store::embedded::{Clock, Options, stepped};

/// A running server.
pub(super) struct Server {
    pub(super) running: Arc<Running>,
    pub(super) gateway: Gateway,
    pub(super) stepper: stepped::Stepper,
    dead: Arc<AtomicBool>,
    /// Tasks that the gateway did not start: those of connections and of the backend's calls.
    pub(super) tasks: Vec<AbortHandle>,
}

impl Server {
    /// Starts the server, and checks that everything that was ever committed is there.
    pub(super) fn start(hub: &Hub, config: &Config, directory: &Path) -> Self {
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
        let (inner, stepper) = stepped::open(options).expect("the store opens after any crash");
        let dead = Arc::new(AtomicBool::new(false));
        let store = Watched {
            inner,
            hub: hub.clone(),
            dead: dead.clone(),
        };
        let (settings, metrics) = (&config.push.webhook, Arc::<Metrics>::default());
        let provider = settings.url.as_ref().map(|_| {
            Box::new(Receiver {
                hub: hub.clone(),
                timeout: Duration::from_millis(settings.timeout_ms),
            }) as Box<dyn Provider>
        });
        let running = Builder::new(config.clone())
            .metrics(metrics.clone())
            .running(Arc::new(store), provider)
            .expect("the gateway starts");
        let running = Arc::new(running);
        let server = Self {
            gateway: Gateway::new(running.clone()),
            running,
            stepper,
            dead,
            tasks: Vec::new(),
        };
        server.survived(hub);
        server
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

    /// Kills the process: what was not committed is lost, and its tasks do nothing any more.
    pub(super) fn crash(self, hub: &Hub, silently: bool) {
        self.dead.store(true, Ordering::Relaxed);
        hub.drop_callbacks();
        for task in &self.tasks {
            task.abort();
        }
        hub.server_dies(silently);
        let mut state = hub.lock();
        state.devices.crashed();
    }
}
