//! One process of the server, from its start with what is in the store to a crash that leaves only that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::hub::Hub;
use super::nodes::Nodes;
use super::receiver::Receiver;
use super::record::Record;
use super::watched::Watched;
use crate::builder::{Builder, Joined};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::gateway::{Gateway, Running};
use crate::metrics::Metrics;
use crate::push::Provider;

/// A running server: one of several nodes, or the only one.
pub(super) struct Server {
    pub(super) number: usize,
    pub(super) running: Arc<Running>,
    pub(super) gateway: Gateway,
    /// `None` if it is the only one.
    pub(super) cluster: Option<Arc<Cluster>>,
    /// It sends its clients away, and takes no new ones.
    pub(super) draining: bool,
    dead: Arc<AtomicBool>,
    /// Tasks that the gateway did not start: those of connections and of the backend's calls.
    pub(super) tasks: Vec<AbortHandle>,
}

impl Server {
    /// Starts the server, and checks that everything that was ever committed is there.
    pub(super) fn start(
        hub: &Hub,
        number: usize,
        config: &Config,
        record: &Record,
        nodes: Option<&mut Nodes>,
    ) -> Self {
        let dead = Arc::new(AtomicBool::new(false));
        let store = Arc::new(Watched {
            inner: record.store.clone(),
            hub: hub.clone(),
            node: number,
            dead: dead.clone(),
        });
        let (settings, metrics) = (&config.push.webhook, Arc::<Metrics>::default());
        let provider = settings.url.as_ref().map(|_| {
            Box::new(Receiver {
                hub: hub.clone(),
                timeout: Duration::from_millis(settings.timeout_ms),
            }) as Box<dyn Provider>
        });
        let mut builder = Builder::new(config.clone()).metrics(metrics.clone());
        let mut cluster = None;
        if let Some(nodes) = nodes {
            let begin = record.store.now();
            let (joined, inbox) = nodes.join(hub, number, config);
            cluster = Some(joined.clone());
            builder = builder.joined(Joined {
                cluster: joined,
                inbox,
                record: store.clone(),
                begin,
            });
        }
        let running = builder.running(store, provider).expect("the gateway starts");
        let running = Arc::new(running);
        record.survived(hub);
        let mut tasks = Vec::new();
        if let Some(cluster) = cluster.clone() {
            // It notes that the process runs.
            tasks.push(tokio::spawn(async move { cluster.stopped().await }).abort_handle());
        }
        Self {
            number,
            gateway: Gateway::new(running.clone()),
            running,
            cluster,
            draining: false,
            dead,
            tasks,
        }
    }

    /// Kills the process: what was not committed is lost, and its tasks do nothing any more.
    pub(super) fn crash(self, hub: &Hub, silently: bool) {
        self.dead.store(true, Ordering::Relaxed);
        hub.drop_callbacks(self.number);
        for task in &self.tasks {
            task.abort();
        }
        hub.server_dies(self.number, silently);
        let mut state = hub.lock();
        state.devices.crashed();
    }
}
