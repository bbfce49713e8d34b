//! How the server listens: its addresses, TLS, the proxies that it trusts, and the limits of connections.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use mynah_front::{Admission, Bounds, Cors, ListenerOptions, Origins, Proxies};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpSocket};

use crate::config::{Config, Server};
use crate::metrics::Metrics;
use crate::tls::Certificate;

/// The number of connections that may wait to be accepted. Many clients reconnect at once after a restart.
const BACKLOG: u32 = 4_096;

/// The setting of the address for clients.
pub(crate) const PUBLIC: &str = "server.listen";
/// The setting of the address for the backend only.
pub(crate) const ADMIN: &str = "server.admin_listen";

/// The addresses of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// For clients, and also for the backend if it has no address of its own.
    pub public: SocketAddr,
    /// For the backend only.
    pub admin: Option<SocketAddr>,
}

impl Addresses {
    /// Resolves the configured addresses. It is an error if they are the same.
    pub(crate) fn of(server: &Server) -> anyhow::Result<Self> {
        let public = resolve(PUBLIC, &server.listen)?;
        let admin = server.admin_listen.as_ref();
        let admin = admin.map(|address| resolve(ADMIN, address)).transpose()?;
        if let Some(admin) = admin.filter(|admin| clash(*admin, public)) {
            bail!(
                "server.admin_listen ({admin}) and server.listen ({public}) are the same address: give one of them another port"
            );
        }
        Ok(Self { public, admin })
    }
}

/// Refuses settings with which no client could connect or be served.
pub(crate) fn check(server: &Server) -> anyhow::Result<()> {
    if server.proxy_protocol && server.trusted_proxies.is_empty() {
        bail!(
            "server.proxy_protocol is true and server.trusted_proxies is empty: nobody could connect. Name the proxies"
        );
    }
    Certificate::open(&server.tls, Arc::default()).map(drop)
}

fn resolve(key: &str, address: &str) -> anyhow::Result<SocketAddr> {
    address
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .with_context(|| format!("{key} = {address:?} cannot be resolved to an address"))
}

/// Whether the server cannot listen on both addresses: the ports are equal, and so are the hosts, or one of
/// them is the unspecified address.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let (a_ip, b_ip) = (a.ip().to_canonical(), b.ip().to_canonical());
    let any = a_ip.is_unspecified() || b_ip.is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a_ip == b_ip || any)
}

/// Listens on the address of this setting.
pub(crate) fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    let listening = socket.bind(address).and_then(|()| socket.listen(BACKLOG));
    listening.map_err(|why| {
        let what = match why.kind() {
            io::ErrorKind::AddrInUse => {
                "another program uses it, perhaps another mynah; stop that, or choose another port".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; name one of its own, or 0.0.0.0 for all of them".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "this user is not allowed to use the port; choose one from 1024 on, or give the program the capability CAP_NET_BIND_SERVICE"
                    .to_owned()
            }
            _ => why.to_string(),
        };
        let option = if key == PUBLIC { " or --listen" } else { "" };
        anyhow!("cannot listen on {address} ({key}{option}): {what}")
    })
}

/// The options of the listeners of both addresses, and what the listeners share.
pub(crate) struct ListenerSettings {
    pub(crate) admission: Arc<Admission>,
    pub(crate) proxies: Proxies,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) public: ListenerOptions,
    pub(crate) admin: ListenerOptions,
}

impl ListenerSettings {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let (server, limits) = (&config.server, &config.limits);
        let admission = Arc::new(Admission::new(Bounds {
            sessions: limits.connections,
            sessions_per_address: limits.connections_per_address,
            bytes: limits.held_bytes,
            bytes_per_address: limits.held_bytes_per_address,
        }));
        let proxies = Proxies::parse(&server.trusted_proxies).context("server.trusted_proxies")?;
        let certificate = Certificate::open(&server.tls, metrics)?;
        let tls = certificate.as_ref().map(Certificate::server_config).transpose()?;
        let room = descriptors();
        let public = ListenerOptions {
            header_timeout_ms: server.header_timeout_ms,
            handshake_timeout_ms: server.handshake_timeout_ms,
            idle_timeout_ms: match server.idle_timeout_ms {
                0 => server.header_timeout_ms.saturating_mul(3),
                idle => idle,
            },
            write_timeout_ms: server.write_timeout_ms,
            tls: tls.clone(),
            proxies: proxies.clone(),
            proxy_protocol: server.proxy_protocol,
            admission: admission.clone(),
            max_descriptors: room.map(|(public, _)| public),
            ..ListenerOptions::default()
        };
        let admin = ListenerOptions {
            tls: tls.filter(|_| server.tls.admin),
            proxies: Proxies::default(),
            proxy_protocol: false,
            bounded: false,
            max_descriptors: room.map(|(_, admin)| admin),
            ..public.clone()
        };
        Ok(Self {
            admission,
            proxies,
            certificate,
            public,
            admin,
        })
    }

    /// The URL at which the server is reached under this address.
    pub(crate) fn url(&self, address: SocketAddr, admin: bool) -> String {
        let options = if admin { &self.admin } else { &self.public };
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }
}

/// The numbers of file descriptors in use from which connections of clients, and of the backend, are no
/// longer accepted. The rest is reserved for the store and for calls of webhooks. The number for the backend
/// is higher, so that the operator can still connect when clients cannot.
fn descriptors() -> Option<(u32, u32)> {
    let most = getrlimit(Resource::Nofile).current?;
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    let reserve = (most / 8).clamp(16, 128);
    Some((most.saturating_sub(reserve), most.saturating_sub(reserve / 2)))
}

/// From which origins web pages may connect and read the responses.
pub(crate) fn cors(server: &Server) -> anyhow::Result<Cors> {
    Ok(match server.cors_origins.as_slice() {
        [] => Cors::None,
        origins if origins.iter().any(|origin| origin == "*") => Cors::Reflect,
        origins => Cors::Origins(Origins::parse(origins).context("server.cors_origins")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(change: impl FnOnce(&mut Server)) -> Server {
        let mut server = Server::default();
        change(&mut server);
        server
    }

    #[test]
    fn addresses_that_clash_are_refused() {
        for (listen, admin, fine) in [
            ("127.0.0.1:3001", "127.0.0.1:3001", false),
            ("127.0.0.1:3001", "0.0.0.0:3001", false),
            ("127.0.0.1:3001", "[::]:3001", false),
            ("127.0.0.1:3001", "[::ffff:127.0.0.1]:3001", false),
            ("127.0.0.1:3001", "127.0.0.1:3002", true),
            ("127.0.0.1:3001", "127.0.0.2:3001", true),
            ("127.0.0.1:0", "127.0.0.1:0", true),
        ] {
            let addresses = Addresses::of(&server(|server| {
                server.listen = listen.into();
                server.admin_listen = Some(admin.into());
            }));
            assert_eq!(addresses.is_ok(), fine, "{listen} {admin}: {addresses:?}");
        }
    }

    #[test]
    fn settings_with_which_nobody_could_connect_are_refused() {
        let why = check(&server(|server| server.proxy_protocol = true)).unwrap_err();
        assert!(
            why.to_string().contains("server.trusted_proxies is empty"),
            "{why}"
        );
        let why = check(&server(|server| {
            server.tls.cert_file = Some("/nowhere/cert.pem".into());
            server.tls.key_file = Some("/nowhere/key.pem".into());
        }));
        let why = format!("{:#}", why.unwrap_err());
        assert!(why.contains("server.tls.cert_file /nowhere/cert.pem"), "{why}");
    }

    #[tokio::test]
    async fn the_error_says_why_the_server_cannot_listen() {
        let taken = bind(PUBLIC, "127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = taken.local_addr().unwrap();
        for (key, address, says) in [
            (PUBLIC, taken, "another port"),
            (PUBLIC, taken, "(server.listen or --listen)"),
            (ADMIN, taken, "(server.admin_listen)"),
            // This address is reserved for documentation, so that no machine has it (RFC 5737).
            (PUBLIC, "192.0.2.1:0".parse().unwrap(), "has no such address"),
        ] {
            let said = bind(key, address).unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
    }
}
