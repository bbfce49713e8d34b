//! Puts a gateway together.

use std::sync::Arc;

use anyhow::Context;

use crate::appends::Appends;
use crate::auth::Auth;
use crate::config::{Config, Displaced, Policy};
use crate::delivery::{Delivery, Worker};
use crate::dispatch::{AbortOnDrop, Core, Push};
use crate::embed::{Listeners, Peer, Seen, Types};
use crate::fair::OneAtATime;
use crate::gateway::Gateway;
use crate::ids::Uid;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::push::{self, Provider, Reached, Settle, Wake, Webhook};
use crate::rate::Rates;
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
    listeners: Listeners,
    types: Types,
}

impl Builder {
    /// With this configuration.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            metrics: Arc::default(),
            listeners: Listeners::default(),
            types: Types::default(),
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
        self.listeners.connect.push(Box::new(listener));
        self
    }

    /// Called for everything that clients send: parsed frames, and raw what is no frame or of a kind that nobody handles.
    #[must_use]
    pub fn on_data(mut self, listener: impl Fn(&Peer, Seen<'_>) + Send + Sync + 'static) -> Self {
        self.listeners.data.push(Box::new(listener));
        self
    }

    /// Called for every connection that closed, with the reason.
    #[must_use]
    pub fn on_close(mut self, listener: impl Fn(&Peer, &str) + Send + Sync + 'static) -> Self {
        self.listeners.close.push(Box::new(listener));
        self
    }

    /// Called when the store is in trouble or a handler refuses.
    #[must_use]
    pub fn on_error(mut self, listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.listeners.error.push(Box::new(listener));
        self
    }

    /// Starts the gateway on this store. Call it inside of a tokio runtime.
    pub fn start(self, store: Arc<dyn Store>) -> anyhow::Result<Gateway> {
        self.core(store).map(Gateway::new)
    }

    /// Starts what the handle is for.
    pub(crate) fn core(self, store: Arc<dyn Store>) -> anyhow::Result<Arc<Core>> {
        let webhook = Webhook::new(&self.config, &self.metrics)?;
        self.core_with(
            store,
            webhook.map(|webhook| Box::new(webhook) as Box<dyn Provider>),
        )
    }

    /// [`Builder::core`]; notifications go to this provider.
    pub(crate) fn core_with(
        self,
        store: Arc<dyn Store>,
        provider: Option<Box<dyn Provider>>,
    ) -> anyhow::Result<Arc<Core>> {
        let config = self.config;
        let system = Uid::new(&config.send.system_uid).context("send.system_uid")?;
        let policy = match config.login.policy {
            Policy::Single => registry::Policy::Single,
            Policy::PerPlatform => registry::Policy::PerPlatform(config.limits.connections_per_user),
            Policy::Multi => registry::Policy::Multi(config.login.max_devices),
        };
        let displaced_stay = config.login.displaced == Displaced::Notify;
        let registry = Arc::new(Registry::new(REGISTRY_SHARDS, policy, displaced_stay));
        let limits = &config.limits;
        self.metrics.set_limits(limits);
        let wake = Arc::new(Wake::default());
        let reached = provider
            .is_some()
            .then(|| Arc::new(Reached::new(registry.clone(), wake.clone(), &config)));
        let push = provider.zip(reached.clone()).map(|(provider, reached)| {
            let (store, metrics) = (store.clone(), self.metrics.clone());
            let worker = push::Worker::new(store, reached, wake.clone(), provider, metrics, &config.push);
            let settle = Arc::new(Settle::default());
            let task = AbortOnDrop(tokio::spawn(worker.run(settle.clone())).abort_handle());
            Push { settle, _task: task }
        });
        let auth = Auth::open(&config, &self.metrics)?;
        let issuer = auth
            .issuer()
            .map(|issuer| AbortOnDrop(tokio::spawn(issuer.clone().run()).abort_handle()));
        let sending = Worker {
            registry: registry.clone(),
            metrics: self.metrics.clone(),
            wake,
        };
        let core = Core {
            kinds: Kinds::new(&config.kinds),
            types: self.types,
            listeners: self.listeners,
            delivery: Delivery::start(&sending, limits.appends_in_flight),
            sending,
            system,
            rates: Rates::new(limits),
            revocations: store.revocations().into(),
            appends: Appends::shared(limits.appends_in_flight),
            changing: OneAtATime::default(),
            reached,
            push,
            auth,
            _issuer: issuer,
            registry,
            store,
            metrics: self.metrics,
            config,
        };
        Ok(Arc::new(core))
    }
}
