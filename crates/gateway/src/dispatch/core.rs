//! Puts the parts of dispatch together. A file of dispatch gets only the part that it needs, and other
//! modules only pass the parts to the functions that dispatch exports.

use std::sync::Arc;

use mynah_cluster::Inbox;
use mynah_socketio::BoxFuture;

use super::entries::Entries;
use super::login::Login;
use super::record::Record;
use super::rules::Rules;
use super::spending::Spending;
use super::{packets, refresh};
use crate::auth::Auth;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::delivery::{Delivery, Fanout, Others};
use crate::directory::Registry;
use crate::embed::Program;
use crate::fair::{OneAtATime, Slots};
use crate::ids::Uid;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::push::{Reached, Wake};
use crate::rate::Rates;
use crate::revocations::Revocations;
use crate::session::Link;
use crate::store::follow::{Follow, Point};
use crate::store::{Store, Watcher};

/// The parts of dispatch.
pub(crate) struct Core {
    pub(crate) rules: Rules,
    pub(crate) record: Arc<Record>,
    pub(crate) login: Arc<Login>,
    /// What the embedding program has added.
    pub(crate) program: Arc<Program>,
    _tasks: Vec<AbortOnDrop>,
}

/// The arguments of [`Core::new`].
pub(crate) struct CoreParts {
    pub(crate) config: Arc<Config>,
    pub(crate) program: Arc<Program>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) registry: Arc<Registry<Link>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) system: Uid,
    /// Woken for each push job.
    pub(crate) wake: Arc<Wake>,
    /// `None` without a push webhook.
    pub(crate) reached: Option<Arc<Reached>>,
    /// The other nodes; `None` if there is one node.
    pub(crate) joined: Option<Joined>,
    /// Tasks that end with the gateway.
    pub(crate) tasks: Vec<AbortOnDrop>,
}

/// What a node of several has.
pub(crate) struct Joined {
    pub(crate) cluster: Arc<Cluster>,
    /// What the other nodes send.
    pub(crate) inbox: Inbox,
    /// The record that all nodes write.
    pub(crate) record: Arc<dyn Follow>,
    /// The moment of the record from which on the node delivers messages of others.
    pub(crate) begin: Point,
}

/// A task that is aborted when this is dropped.
pub(crate) struct AbortOnDrop(pub(crate) tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Core {
    /// Starts the tasks of delivery. Must be called in a tokio runtime.
    pub(crate) fn new(parts: CoreParts) -> Self {
        let limits = &parts.config.limits;
        let rates = Rates::new(limits);
        let is_shared = parts.joined.is_some();
        let user_sends = Arc::new(rates.user_sends.shared(is_shared));
        let user_registers = Arc::new(rates.user_registers.shared(is_shared));
        let spending = Spending {
            registers: user_registers.clone(),
            sends: user_sends.clone(),
            calls: Arc::new(rates.calls.shared(is_shared)),
        };
        let rules = Rules {
            config: parts.config.clone(),
            kinds: Kinds::new(&parts.config.kinds),
            program: parts.program.clone(),
            system: parts.system,
            user_sends,
            notifies: parts.reached.is_some(),
            metrics: parts.metrics.clone(),
        };
        let revocations = Arc::new(Revocations::default());
        let known = revocations.clone();
        let watcher = Watcher::Revocations(Box::new(move |revocation| known.add(revocation)));
        parts.store.watch(watcher);
        let fanout = Fanout {
            registry: parts.registry.clone(),
            metrics: parts.metrics.clone(),
            wake: parts.wake,
        };
        let (cluster, inbox, others) = match parts.joined {
            None => (None, None, None),
            Some(joined) => {
                let others = Others {
                    cluster: joined.cluster.clone(),
                    record: joined.record,
                    store: parts.store.clone(),
                    begin: joined.begin,
                };
                (Some(joined.cluster), Some(joined.inbox), Some(others))
            }
        };
        let record = Arc::new(Record {
            delivery: Delivery::start(fanout, limits.appends_in_flight, others),
            slots: Slots::shared(limits.appends_in_flight),
            changing: OneAtATime::default(),
            store: parts.store,
            reached: parts.reached.clone(),
            metrics: parts.metrics.clone(),
            program: parts.program.clone(),
            config: parts.config.clone(),
        });
        let login = Arc::new(Login {
            auth: parts.auth,
            registry: parts.registry,
            revocations,
            registers: rates.registers,
            user_registers,
            spending: spending.clone(),
            reached: parts.reached,
            metrics: parts.metrics,
            record: record.clone(),
            config: parts.config,
            entries: cluster.clone().map(Entries::new),
        });
        let mut tasks = parts.tasks;
        if let Some((cluster, inbox)) = cluster.zip(inbox) {
            let mut begin = |task: BoxFuture| {
                tasks.push(AbortOnDrop(tokio::spawn(task).abort_handle()));
            };
            begin(Box::pin(spending.tell(cluster.clone())));
            begin(Box::pin(packets::receive(cluster, login.clone(), inbox)));
            begin(Box::pin(refresh::refresh(login.clone())));
            let releasing = login.clone();
            begin(Box::pin(async move {
                if let Some(entries) = &releasing.entries {
                    entries.release_all().await;
                }
            }));
        }
        Self {
            rules,
            record,
            login,
            program: parts.program,
            _tasks: tasks,
        }
    }
}
