//! Puts a gateway together.

use std::sync::Arc;

use anyhow::Context;

use crate::auth::Auth;
use crate::config::{Config, Displaced, Policy};
use crate::dispatch::{AbortOnDrop, Core, Parts};
use crate::embed::{Peer, Program, Seen};
use crate::entrance::Entrance;
use crate::gateway::{Gateway, Running};
use crate::ids::Uid;
use crate::metrics::Metrics;
use crate::push::{self, Provider, Reached, Settle, Wake, Webhook};
use crate::registry::{self, Registry};
use crate::store::Store;

/// Shards of the registry; more than threads, so that they seldom meet.
const REGISTRY_SHARDS: usize = 64;

/// Why a gateway with this configuration could not send notifications.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    Webhook::new(config, &Metrics::default()).map(drop)
}

/// Puts a gateway together; see [`Builder::start`].
pub struct Builder {
    config: Config,
    metrics: Arc<Metrics>,
    program: Program,
}

impl Builder {
    /// With this configuration.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            metrics: Arc::default(),
            program: Program::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Counts here instead of in metrics of its own.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Called for every new connection.
    #[must_use]
    pub fn on_connect(mut self, listener: impl Fn(&Peer) + Send + Sync + 'static) -> Self {
        self.program.listeners.connect.push(Box::new(listener));
        self
    }

    /// Called for everything that clients send: parsed frames, and raw what is no frame or of a kind that nobody handles.
    #[must_use]
    pub fn on_data(mut self, listener: impl Fn(&Peer, Seen<'_>) + Send + Sync + 'static) -> Self {
        self.program.listeners.data.push(Box::new(listener));
        self
    }

    /// Called for every connection that closed, with the reason.
    #[must_use]
    pub fn on_close(mut self, listener: impl Fn(&Peer, &str) + Send + Sync + 'static) -> Self {
        self.program.listeners.close.push(Box::new(listener));
        self
    }

    /// Called when the store is in trouble or a handler refuses.
    #[must_use]
    pub fn on_error(mut self, listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.program.listeners.error.push(Box::new(listener));
        self
    }

    /// Starts the gateway on this store. Call it inside of a tokio runtime.
    pub fn start(self, store: Arc<dyn Store>) -> anyhow::Result<Gateway> {
        let webhook = Webhook::new(&self.config, &self.metrics)?;
        let provider = webhook.map(|webhook| Box::new(webhook) as Box<dyn Provider>);
        Ok(Gateway::new(Arc::new(self.running(store, provider)?)))
    }

    /// Starts what the handle is for; notifications go to this provider.
    pub(crate) fn running(
        self,
        store: Arc<dyn Store>,
        provider: Option<Box<dyn Provider>>,
    ) -> anyhow::Result<Running> {
        let config = Arc::new(self.config);
        let (metrics, program) = (self.metrics, Arc::new(self.program));
        let policy = match config.login.policy {
            Policy::Single => registry::Policy::Single,
            Policy::PerPlatform => registry::Policy::PerPlatform(config.limits.connections_per_user),
            Policy::Multi => registry::Policy::Multi(config.login.max_devices),
        };
        let displaced_stay = config.login.displaced == Displaced::Notify;
        let registry = Arc::new(Registry::new(REGISTRY_SHARDS, policy, displaced_stay));
        metrics.set_limits(&config.limits);
        let mut tasks = Vec::new();
        let wake = Arc::new(Wake::default());
        let reached = provider
            .is_some()
            .then(|| Arc::new(Reached::new(registry.clone(), wake.clone(), &config)));
        let settle = provider.zip(reached.clone()).map(|(provider, reached)| {
            let (store, metrics) = (store.clone(), metrics.clone());
            let worker = push::Worker::new(store, reached, wake.clone(), provider, metrics, &config.push);
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
        let core = Arc::new(Core::new(Parts {
            system: Uid::new(&config.send.system_uid).context("send.system_uid")?,
            config: config.clone(),
            program: program.clone(),
            auth: auth.clone(),
            registry: registry.clone(),
            store: store.clone(),
            metrics: metrics.clone(),
            wake,
            reached,
            tasks,
        }));
        let entrance = Entrance::new(core.clone(), config, metrics, program.clone());
        Ok(Running {
            core,
            entrance: Arc::new(entrance),
            store,
            registry,
            auth,
            program,
            settle,
        })
    }
}
