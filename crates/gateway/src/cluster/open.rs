//! Reads the settings of a cluster, and connects this node to Redis.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use mynah_cluster::{
    Address, Bus, BusConfig, ClusterName, Directory, DirectoryConfig, ENTRY_LIFE, Inbox, Incarnation, Policy,
    Secret, Times, Trouble,
};

use super::{Cluster, Introduction, Peer};
use crate::config::{self, Config};
use crate::trust;

/// The maximum number of packets that wait to be sent, and of those that wait to be handled.
const MOST_PACKETS: usize = 65_536;
/// The maximum number of bytes of the packets in each of the two queues.
const MOST_BYTES: usize = 64 << 20;

/// How long the start waits for Redis.
const REDIS_WITHIN: Duration = Duration::from_secs(5);

/// How long a new node waits before it serves. The others read once a second which nodes there are, and
/// forward requests only to nodes that they know.
const KNOWN_WITHIN: Duration = Duration::from_millis(1_500);

/// The settings of a node that is one of several.
pub(crate) struct Settings {
    address: Arc<Address>,
    name: ClusterName,
    secret: Secret,
    policy: Policy,
    back: Duration,
    /// Where other nodes reach this node, if the configuration says it.
    advertise: Option<Box<str>>,
}

impl Settings {
    /// Reads the settings; `None` if there is one node.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let cluster = &config.cluster;
        let Some(url) = &cluster.redis_url else {
            ensure!(
                cluster.advertise.is_none() && cluster.secret.is_none() && cluster.secret_file.is_none(),
                "[cluster] is configured, but not cluster.redis_url: set that too, or remove the section"
            );
            return Ok(None);
        };
        ensure!(
            config.store.url.is_some(),
            "cluster.redis_url needs store.url: the nodes of a cluster share a PostgreSQL database"
        );
        let tls = trust::client_config(config.outbound.ca_file.as_deref())?;
        let secret = match (&cluster.secret, &cluster.secret_file) {
            (Some(secret), None) => secret.expose().to_owned(),
            (None, Some(path)) => secret_of(path)?,
            (Some(_), Some(_)) => bail!("cluster.secret and cluster.secret_file must not both be set"),
            (None, None) => bail!(
                "cluster.secret or cluster.secret_file must be set: make a secret with `openssl rand -hex 32`"
            ),
        };
        let advertise = cluster.advertise.as_deref().map(check_advertise).transpose()?;
        if advertise.is_none() {
            // The port may be chosen by the system, so that only the host can be checked here.
            let listens = config.server.listen.as_str();
            let host = listens.rsplit_once(':').map_or(listens, |(host, _)| host);
            check_host(host).context("cluster.advertise is not set, and server.listen is not an address that other nodes can reach")?;
        }
        Ok(Some(Self {
            address: Arc::new(Address::parse(url.expose(), &Arc::new(tls))?),
            name: ClusterName::new(&cluster.name)?,
            secret: Secret::new(&secret)?,
            policy: policy(config),
            back: Duration::from_millis(cluster.return_ms),
            advertise: advertise.map(Into::into),
        }))
    }
}

/// A node that is about to join the others.
pub(crate) struct Own {
    settings: Settings,
    /// Its address for other nodes, and its run.
    node: Peer,
}

impl Own {
    /// A new run of the node that listens on `address`.
    pub(crate) fn new(settings: Settings, address: SocketAddr) -> anyhow::Result<Self> {
        let advertise = settings.advertise.clone();
        let node = Peer {
            advertise: advertise.unwrap_or_else(|| address.to_string().into()),
            incarnation: Incarnation::random().context("the system has no random numbers")?,
        };
        Ok(Self { settings, node })
    }

    /// The key with which nodes forward requests to each other.
    pub(crate) fn forward_key(&self) -> [u8; 32] {
        self.settings.secret.derive("forward", &self.settings.name)
    }

    /// This run of the node.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.node.incarnation
    }

    /// What the node says to the others.
    pub(crate) fn introduction(&self, config: &Config) -> anyhow::Result<Introduction> {
        let (secret, name) = (&self.settings.secret, &self.settings.name);
        Introduction::new(config, &self.node.advertise, secret, name)
    }

    /// Connects to Redis. If Redis is not there, the node starts nevertheless, and is not ready. The inbox
    /// has what other nodes send.
    pub(crate) async fn join(self) -> anyhow::Result<(Arc<Cluster>, Inbox)> {
        let Self { settings, node } = self;
        let directory = Directory::start(DirectoryConfig {
            address: settings.address.clone(),
            name: settings.name.clone(),
            secret: settings.secret.clone(),
            incarnation: node.incarnation,
            policy: settings.policy,
            life: ENTRY_LIFE,
            times: Times::default(),
        });
        let (bus, inbox) = Bus::start(BusConfig {
            address: settings.address,
            name: settings.name,
            secret: settings.secret,
            incarnation: node.incarnation,
            most_packets: MOST_PACKETS,
            most_bytes: MOST_BYTES,
            times: Times::default(),
        });
        let cluster = Cluster::new(node, settings.back, directory, bus);
        let (connected, ()) = tokio::join!(cluster.connected(REDIS_WITHIN), tokio::time::sleep(KNOWN_WITHIN));
        match connected {
            Ok(()) => {}
            Err(trouble @ Trouble::OtherCluster(_)) => bail!(trouble),
            Err(trouble) => tracing::warn!("this node is not ready: {trouble}"),
        }
        Ok((Arc::new(cluster), inbox))
    }
}

fn secret_of(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cluster.secret_file {} cannot be read", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn policy(config: &Config) -> Policy {
    match config.login.policy {
        config::Policy::Single => Policy::Single,
        config::Policy::PerPlatform => Policy::PerPlatform(config.limits.connections_per_user),
        config::Policy::Multi => Policy::Multi(config.login.max_devices),
    }
}

fn check_advertise(text: &str) -> anyhow::Result<&str> {
    let check = || {
        let (host, port) = text.rsplit_once(':').context("there is no port")?;
        ensure!(
            port.parse().is_ok_and(|port: u16| port > 0),
            "the port is not a number from 1 to 65535"
        );
        check_host(host)
    };
    check().map(|()| text).with_context(|| {
        format!("cluster.advertise = {text:?} must be host:port, as other nodes reach this node")
    })
}

fn check_host(host: &str) -> anyhow::Result<()> {
    let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match (plain, plain.unwrap_or(host).parse::<IpAddr>()) {
        (_, Ok(ip)) if ip.to_canonical().is_unspecified() => bail!("{host} is no address of a machine"),
        (None, Ok(IpAddr::V6(_))) => bail!("write the address in brackets: [{host}]"),
        (_, Ok(_)) => Ok(()),
        (Some(_), Err(_)) => bail!("{host} is not an IPv6 address"),
        (None, Err(_)) => {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            ensure!(
                !host.is_empty() && host.bytes().all(fits),
                "{host:?} is not the name of a host"
            );
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_nodes_must_be_able_to_reach_what_is_advertised() {
        for good in ["10.0.0.1:3001", "node-1.internal:80", "[::1]:3001", "a_b:1"] {
            assert_eq!(check_advertise(good).unwrap(), good);
        }
        let bad = [
            "",
            "host",
            "host:",
            "host:0",
            "host:99999",
            ":80",
            "0.0.0.0:80",
            "[::]:80",
            "::1:80",
            "[host]:80",
            "http://host:80",
            "a b:80",
            "[::ffff:0.0.0.0]:80",
        ];
        for bad in bad {
            let error = format!("{:#}", check_advertise(bad).unwrap_err());
            assert!(error.contains("cluster.advertise"), "{bad}: {error}");
        }
    }
}
