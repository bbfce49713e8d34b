//! The server of the program: one address for Socket.IO, the API and the web page (or two addresses), from
//! opening the store to closing it.
//!
//! Invariants: in open mode only clients of this machine are accepted, unless the configuration says
//! otherwise; everything that was answered is in the store before the program ends; stopping takes no longer
//! than the grace period.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Body;
use axum::http::{HeaderValue, header};
use hyper::{Request, Response};
use mynah_forward::{Forward, SidTag};
use mynah_front::{Admission, Listener, Proxies, Refusal, RequestBody};
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

use crate::auth;
use crate::builder::{self, Joined};
use crate::cluster::{Cluster, Own, Settings};
use crate::config::{Config, Mode};
use crate::forwarding;
use crate::http::{Api, Calls, Door, Hosts};
use crate::keys::{ApiKeys, KeySources};
use crate::listen::{self, ListenerSettings};
use crate::metrics::{LimitLabel, Metrics};
use crate::refusal_log;
use crate::reload::Reload;
use crate::store::Store;
use crate::stores::{self, Location, Opened};
use crate::tls::Certificate;
use crate::{Builder, Gateway};

pub use crate::listen::Addresses;
pub use crate::stores::{api_key, backup, migrate, restore};

/// Number of connections that are closed per second when the server stops, so that the clients do not all
/// reconnect at the same moment.
const CLOSES_PER_SECOND: u64 = 1_000;

/// The other nodes have taken this one for dead, because it was stopped or could not write its heartbeat. Its
/// clients were disconnected. The server may be opened again, as a new node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other nodes have taken this one for dead, because it was stopped or did not reach PostgreSQL")]
pub struct Lost;

/// A server that is ready to run.
pub struct Server {
    config: Config,
    listener: TcpListener,
    admin: Option<TcpListener>,
    addresses: Addresses,
    listening: ListenerSettings,
    keys: KeySources,
    gateway: Gateway,
    socketio: mynah_socketio::Server,
    api: Arc<Api>,
    store: Arc<dyn Store>,
    /// See [`Opened::lost`].
    lost: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The other nodes, and what forwards requests to them; `None` if there is one node.
    cluster: Option<(Arc<Cluster>, Forward)>,
    /// Tasks that end when this is dropped.
    beside: JoinSet<()>,
}

impl Server {
    /// Opens the listeners and the store, and prepares everything.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        Self::with(Builder::new(config)).await
    }

    /// [`Server::open`] for programs that embed the server, with their listeners.
    pub async fn with(builder: Builder) -> anyhow::Result<Self> {
        let config = builder.config().clone();
        let wanted = permitted(&config)?;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        let metrics = Arc::new(Metrics::new());
        let listening = ListenerSettings::new(&config, metrics.clone())?;
        let listener = listen::bind(listen::PUBLIC, wanted.public)?;
        let admin = wanted
            .admin
            .map(|admin| listen::bind(listen::ADMIN, admin))
            .transpose()?;
        let addresses = Addresses {
            public: listener.local_addr()?,
            admin: admin.as_ref().map(TcpListener::local_addr).transpose()?,
        };
        let settings = Settings::of(&config)?;
        let node = settings
            .map(|settings| Own::new(settings, addresses.public))
            .transpose()?;
        let opened = stores::open(&config, metrics.clone(), node.as_ref()).await?;
        let Opened {
            store,
            record,
            depth,
            lost,
            nodes,
        } = opened;
        let (keys, sources) = ApiKeys::open(&config.auth.api_keys, stores::directory(&config), store.clone())
            .await
            .with_context(|| format!("the API keys in {} cannot be used", Location(&config)))?;
        let mut builder = builder.metrics(metrics.clone());
        let (mut cluster, mut beside) = (None, JoinSet::new());
        if let Some((node, record)) = node.zip(record) {
            let key = node.forward_key();
            // Clients register later, and read everything that is older.
            let begin = record.point().await?;
            let (joined, inbox) = node.join().await?;
            if let Some(nodes) = nodes {
                beside.spawn(stores::watch_nodes(nodes, joined.clone()));
            }
            cluster = Some((joined.clone(), key));
            builder = builder.joined(Joined {
                cluster: joined,
                inbox,
                record,
                begin,
            });
        }
        let gateway = builder.start(store.clone())?;
        let tag = cluster
            .as_ref()
            .map(|(cluster, _)| forwarding::tag(&cluster.own()));
        let socketio =
            mynah_socketio::Server::new(socketio_config(&config, &listening, tag)?, gateway.namespaces());
        let cluster = match cluster {
            None => None,
            Some((cluster, key)) => {
                let options = forwarding::options(key, &config.engine, &listening)?;
                Some((cluster, Forward::new((*socketio).clone(), options)))
            }
        };
        let api = Arc::new(Api {
            gateway: gateway.clone(),
            keys,
            metrics_key: config.auth.metrics_key,
            calls: Calls::new(&config.limits, &gateway),
            limits: config.limits.clone(),
            metrics,
            open: config.auth.mode == Mode::Open,
            observe: observer(
                gateway.clone(),
                socketio.clone(),
                depth,
                listening.admission.clone(),
            ),
            hosts: Hosts::new(&config),
            cors: listen::cors(&config.server)?,
            admission: listening.admission.clone(),
            draining: AtomicBool::new(false),
        });
        Ok(Self {
            config,
            listener,
            admin,
            addresses,
            listening,
            keys: sources,
            gateway,
            socketio,
            api,
            store,
            lost,
            cluster,
            beside,
        })
    }

    /// Returns the address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses.public
    }

    /// Returns the separate address for the backend, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.addresses.admin
    }

    /// Returns the gateway, for programs that embed the server.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Returns a handle that reads keys and certificates again.
    pub fn reload(&self) -> Reload {
        Reload {
            api: self.api.clone(),
            gateway: self.gateway.clone(),
            certificate: self.listening.certificate.as_ref().map(Certificate::asked),
        }
    }

    /// Returns the message at the start: the addresses, what is open, and how to close it.
    pub fn greeting(&self) -> String {
        let url = self.listening.url(self.addresses.public, false);
        let admin = self.addresses.admin;
        let api = admin.map_or_else(|| url.clone(), |address| self.listening.url(address, true));
        let mut text = format!(
            "Mynah {} is listening on {url}\n  Socket.IO  {url}{}\n  API        {api}/v1 (described by {api}{})\n  API keys   {}\n  data       {}\n",
            env!("CARGO_PKG_VERSION"),
            self.config.engine.path,
            crate::http::OPENAPI_PATH,
            self.keys,
            Location(&self.config),
        );
        match self.config.auth.mode {
            Mode::Open => {}
            Mode::Jwt => text.push_str(&format!(
                "  clients    need a token (auth.mode = \"jwt\": {})\n",
                self.gateway.accepted_tokens().unwrap_or_default()
            )),
            Mode::Webhook => text.push_str(
                "  clients    are accepted by the backend (auth.mode = \"webhook\", auth.webhook.url)\n",
            ),
        }
        if self.api.open {
            text.push_str(&format!(
                "  page       {url}/\n\n\
                 Open mode: anybody who can reach this port can act as any user. Only the API needs a key.\n{}",
                if self.addresses.public.ip().to_canonical().is_loopback() {
                    "Only this machine can reach it. To accept others, put a program in front that authenticates clients,\n\
                     or set server.allow_open_beyond_loopback = true for a network that you trust.\n"
                } else {
                    "OTHER MACHINES CAN REACH IT. To prevent that, listen on 127.0.0.1 (server.listen), behind a program that\n\
                     authenticates clients.\n"
                }
            ));
        }
        text
    }

    /// Runs until `shutdown` resolves, then stops: new connections are refused, clients are expected to
    /// reconnect elsewhere, requests in flight are finished, and the store is closed, all within
    /// `server.grace_ms`. A node of a cluster fails with [`Lost`] if the others have taken it for dead.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let calls = Arc::default();
        let (cluster, forward) = self.cluster.unzip();
        let routes = |door| {
            let (proxies, forward) = match door {
                Door::Admin => (Proxies::default(), None),
                Door::Only | Door::Public => (self.listening.proxies.clone(), forward.clone()),
            };
            Arc::new(Routes {
                socketio: self.socketio.clone(),
                router: crate::http::router(self.api.clone(), door),
                api: self.api.clone(),
                calls: Arc::clone(&calls),
                door,
                proxies,
                forward,
            })
        };
        let mut beside = self.beside;
        let door = if let Some(admin) = self.admin {
            // This listener serves until the end, so that the operator can observe the stop.
            let routes = routes(Door::Admin);
            beside.spawn(Listener::new(admin, self.listening.admin.clone()).serve(
                move |request, peer| routes.clone().answer(request, peer),
                std::future::pending(),
            ));
            Door::Public
        } else {
            Door::Only
        };
        let (routes, options) = (routes(door), self.listening.public.clone());
        if let Some(certificate) = self.listening.certificate {
            beside.spawn(certificate.keep());
        }
        beside.spawn(refusal_log::tell(
            self.listening.admission.clone(),
            self.api.metrics.clone(),
        ));
        if let (Some(forward), Some(cluster)) = (&forward, &cluster) {
            beside.spawn(forwarding::follow(forward.clone(), cluster.clone()));
        }
        let address = self.addresses.public;
        let mut is_lost = false;
        let stopped = async {
            match &cluster {
                Some(cluster) => cluster.stopped().await,
                None => std::future::pending().await,
            }
        };
        tracing::info!(%address, "listening on {address}");
        Listener::new(self.listener, options)
            .serve(move |request, peer| routes.clone().answer(request, peer), async {
                tokio::select! {
                    () = shutdown => {}
                    () = self.lost => is_lost = true,
                    () = stopped => is_lost = true,
                }
                self.api.draining.store(true, Ordering::Relaxed);
            })
            .await;

        self.gateway.users_return();
        let grace = Duration::from_millis(self.config.server.grace_ms);
        let end = Instant::now() + grace;
        let sessions = self.socketio.sessions() as u64;
        tracing::info!(connections = sessions, "stopping: closing all connections");
        let spread = match is_lost {
            // What was received meanwhile must not be handled.
            true => Duration::ZERO,
            false => Duration::from_millis(sessions * 1_000 / CLOSES_PER_SECOND).min(grace / 2),
        };
        let finished = async {
            let through = async {
                if let Some(forward) = &forward {
                    forward.drain(spread).await;
                }
            };
            tokio::join!(self.socketio.drain(spread), through);
            // Each API call holds the lock for reading.
            let _none = calls.write().await;
            self.gateway.settle_push().await;
        };
        // A fifth of the time is reserved for the store.
        if timeout_at(end - grace / 5, finished).await.is_err() {
            tracing::warn!("not everything could be finished within server.grace_ms");
        }
        if timeout_at(end, self.store.close()).await.is_err() {
            tracing::error!(
                "the store was not closed within server.grace_ms; everything that was answered is durable nevertheless"
            );
        }
        tracing::info!("stopped");
        if is_lost && self.config.cluster.is_on() {
            bail!(Lost);
        }
        if is_lost {
            bail!(
                "another process has taken over {}, because this one could not write there for several seconds; \
                 only one may use it",
                Location(&self.config)
            );
        }
        Ok(())
    }
}

/// Passes requests to the part that answers them.
struct Routes {
    socketio: mynah_socketio::Server,
    router: axum::Router,
    api: Arc<Api>,
    /// Held for reading by every API call in flight.
    calls: Arc<RwLock<()>>,
    door: Door,
    /// Proxies whose X-Forwarded-For is trusted.
    proxies: Proxies,
    /// Forwards requests for sessions of other nodes; `None` if there is one node.
    forward: Option<Forward>,
}

impl Routes {
    /// The future is boxed, so that the task of an idle connection needs no memory for it.
    fn answer(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(async move {
            if let Some(forward) = &self.forward
                && forward.is_internal(&request)
            {
                let answer = Box::pin(forward.answer_internal(request, peer));
                return answer.await.map(Body::new);
            }
            if let Some(refused) = self.api.refuse_host(&request, peer) {
                return refused;
            }
            if self.door != Door::Admin && self.socketio.serves(request.uri().path()) {
                let peer = self.proxies.client(peer, request.headers());
                if let Some(forward) = &self.forward
                    && let Some(node) = forward.node_of(&request)
                {
                    return Box::pin(forward.send(request, peer, node)).await.map(Body::new);
                }
                return self.socketio.handle(request, peer).await.map(Body::new);
            }
            let _under_way: RwLockReadGuard<'_, ()> = self.calls.read().await;
            let Ok(mut response) = self.router.clone().oneshot(request.map(Body::new)).await;
            if self.api.draining.load(Ordering::Relaxed) {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        })
    }
}

/// Returns the addresses of the listeners, or why the server must not start with this configuration.
pub fn permitted(config: &Config) -> anyhow::Result<Addresses> {
    stores::check(config)?;
    Settings::of(config)?;
    auth::check(config)?;
    builder::check(config)?;
    listen::check(&config.server)?;
    let addresses = Addresses::of(&config.server)?;
    let address = addresses.public;
    let beyond = !address.ip().to_canonical().is_loopback();
    if beyond && config.auth.mode == Mode::Open && !config.server.allow_open_beyond_loopback {
        bail!(
            "it would listen on {address}, which other machines can reach, while auth.mode is \"open\": anybody could act as any \
             user. Set auth.mode (\"jwt\" or \"webhook\"), listen on 127.0.0.1, or set server.allow_open_beyond_loopback = true for a network that you trust"
        );
    }
    Ok(addresses)
}

/// Returns a function that updates the metrics whose values must be queried.
fn observer(
    gateway: Gateway,
    socketio: mynah_socketio::Server,
    store_depth: Box<dyn Fn() -> usize + Send + Sync>,
    admission: Arc<Admission>,
) -> Box<dyn Fn(&Metrics) + Send + Sync> {
    Box::new(move |metrics| {
        metrics.users_online.set(gateway.users_online() as i64);
        metrics.sessions.set(socketio.sessions() as i64);
        metrics.queue_bytes.set(socketio.queued_bytes() as i64);
        let set = |counter: &Counter, value| counter.inner().store(value, Ordering::Relaxed);
        set(&metrics.slow_readers, socketio.slow_readers() as u64);
        for refusal in Refusal::ALL {
            set(&metrics.refused(refusal.as_str()), admission.refused(refusal));
        }
        for (limit, counted) in [
            ("connections", admission.refused(Refusal::Connections)),
            ("connections_per_address", admission.refused(Refusal::Address)),
            ("held_bytes", admission.refused(Refusal::Memory)),
            ("queue_bytes", socketio.slow_readers() as u64),
        ] {
            set(&metrics.limited.get_or_create(&LimitLabel { limit }), counted);
        }
        metrics.store_queue.set(store_depth() as i64);
        let (nodes, packets) = gateway.cluster().map_or_else(Default::default, |cluster| {
            metrics
                .cluster_bus_up
                .set(cluster.bus().healthy_since().is_some().into());
            (cluster.peers().live.len(), cluster.bus().counts())
        });
        metrics.cluster_nodes.set(nodes as i64 + 1);
        set(&metrics.cluster_packets_sent, packets.published);
        set(&metrics.cluster_packets_received, packets.received);
        let dropped = [
            packets.full,
            packets.disconnected,
            packets.lost,
            packets.refused,
            packets.overflowed,
        ];
        set(&metrics.cluster_packets_dropped, dropped.iter().sum());
    })
}

fn socketio_config(
    config: &Config,
    listening: &ListenerSettings,
    sid_tag: Option<SidTag>,
) -> anyhow::Result<mynah_socketio::Config> {
    let engine = &config.engine;
    Ok(mynah_socketio::Config {
        path: engine.path.clone(),
        eio2_as_eio3: true,
        ping_interval_ms: engine.ping_interval_ms,
        ping_timeout_ms: engine.ping_timeout_ms,
        upgrade_timeout_ms: engine.upgrade_timeout_ms,
        connect_timeout_ms: engine.connect_timeout_ms,
        max_payload_bytes: engine.max_payload_bytes,
        max_attachments: engine.max_attachments,
        // Events with attachments are refused, so they need not be kept.
        keep_attachments: false,
        max_queue_bytes: config.limits.queue_bytes,
        cors: listen::cors(&config.server)?,
        refuse_origins: true,
        admission: listening.admission.clone(),
        keep_handshake: false,
        sid_tag,
        ..mynah_socketio::Config::default()
    })
}
