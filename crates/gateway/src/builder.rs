//! Assembles a gateway from its configuration, store and listeners.

use std::sync::Arc;

use anyhow::Context;

use crate::auth::Auth;
use crate::config::{Config, Displaced, Policy};
use crate::directory::{self, Registry};
use crate::dispatch::{AbortOnDrop, Core, CoreParts};
use crate::embed::{Peer, Program, Seen};
use crate::entrance::Entrance;
use crate::gateway::{Gateway, Running};
use crate::ids::Uid;
use crate::metrics::Metrics;
use crate::push::{self, Provider, Reached, Settle, Wake, Webhook};
use crate::store::Store;

pub(crate) use crate::dispatch::Joined;

/// The number of shards of the registry. It is larger than the number of threads, so that threads seldom
/// wait for each other.
const REGISTRY_SHARDS: usize = 64;

/// Returns an error if a gateway with this configuration could not send notifications.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    Webhook::new(config, &Metrics::default()).map(drop)
}

/// A builder of a gateway; see [`Builder::start`].
pub struct Builder {
    config: Config,
    metrics: Arc<Metrics>,
    program: Program,
    joined: Option<Joined>,
}

impl Builder {
    /// Creates a builder for a gateway with this configuration.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            metrics: Arc::default(),
            program: Program::default(),
            joined: None,
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Sets the metrics, which are otherwise created.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets a function that is called for every new connection.
    #[must_use]
    pub fn on_connect(mut self, listener: impl Fn(&Peer) + Send + Sync + 'static) -> Self {
        self.program.listeners.connect.push(Box::new(listener));
        self
    }

    /// Sets a function that is called for everything that clients send: parsed frames, and text that is not a
    /// frame or whose kind has no handler.
    #[must_use]
    pub fn on_data(mut self, listener: impl Fn(&Peer, Seen<'_>) + Send + Sync + 'static) -> Self {
        self.program.listeners.data.push(Box::new(listener));
        self
    }

    /// Sets a function that is called for every connection that has closed, with the reason.
    #[must_use]
    pub fn on_close(mut self, listener: impl Fn(&Peer, &str) + Send + Sync + 'static) -> Self {
        self.program.listeners.close.push(Box::new(listener));
        self
    }

    /// Sets a function that is called when the store fails or a handler refuses a frame.
    #[must_use]
    pub fn on_error(mut self, listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.program.listeners.error.push(Box::new(listener));
        self
    }

    /// Makes the gateway one of several nodes.
    #[must_use]
    pub(crate) fn joined(mut self, joined: Joined) -> Self {
        self.joined = Some(joined);
        self
    }

    /// Starts the gateway with this store. Must be called in a tokio runtime.
    pub fn start(self, store: Arc<dyn Store>) -> anyhow::Result<Gateway> {
        let webhook = Webhook::new(&self.config, &self.metrics)?;
        let provider = webhook.map(|webhook| Box::new(webhook) as Box<dyn Provider>);
        Ok(Gateway::new(Arc::new(self.running(store, provider)?)))
    }

    /// Starts the parts of the gateway. Notifications go to this provider.
    pub(crate) fn running(
        self,
        store: Arc<dyn Store>,
        provider: Option<Box<dyn Provider>>,
    ) -> anyhow::Result<Running> {
        let config = Arc::new(self.config);
        let (metrics, program) = (self.metrics, Arc::new(self.program));
        let policy = match config.login.policy {
            Policy::Single => directory::Policy::Single,
            Policy::PerPlatform => directory::Policy::PerPlatform(config.limits.connections_per_user),
            Policy::Multi => directory::Policy::Multi(config.login.max_devices),
        };
        let displaced_stay = config.login.displaced == Displaced::Notify;
        let registry = Arc::new(Registry::new(REGISTRY_SHARDS, policy, displaced_stay));
        metrics.set_limits(&config.limits);
        let cluster = self.joined.as_ref().map(|joined| joined.cluster.clone());
        let mut tasks = Vec::new();
        let wake = Arc::new(Wake::default());
        let reached = provider.is_some().then(|| {
            Arc::new(Reached::new(
                registry.clone(),
                wake.clone(),
                cluster.clone(),
                &config,
            ))
        });
        let settle = provider.zip(reached.clone()).map(|(provider, reached)| {
            let (store, metrics) = (store.clone(), metrics.clone());
            let worker = push::Worker::new(store, reached, provider, metrics, &config.push);
            let settle = Arc::new(Settle::default());
            tasks.push(AbortOnDrop(
                tokio::spawn(worker.run(settle.clone())).abort_handle(),
            ));
            settle
        });
        let auth = Arc::new(Auth::open(&config, &metrics)?);
        if let Some(issuer) = auth.issuer() {
            tasks.push(AbortOnDrop(tokio::spawn(issuer.clone().run()).abort_handle()));
        }
        let core = Arc::new(Core::new(CoreParts {
            system: Uid::new(&config.send.system_uid).context("send.system_uid")?,
            config: config.clone(),
            program: program.clone(),
            auth: auth.clone(),
            registry: registry.clone(),
            store: store.clone(),
            metrics: metrics.clone(),
            wake,
            reached,
            joined: self.joined,
            tasks,
        }));
        let entrance = Entrance::new(core.clone(), config, metrics, program.clone());
        Ok(Running {
            core,
            entrance: Arc::new(entrance),
            store,
            registry,
            auth,
            cluster,
            program,
            settle,
        })
    }
}
