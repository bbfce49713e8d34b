//! A server for one test, on a free port, with its data in a temporary directory.

use std::net::SocketAddr;

use mynah::config::{Config, Durability};
use mynah::ids::Uid;
use mynah::server::Server;
use mynah::{By, Gateway, SendOrder, To};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::Client;

/// A server that runs until [`Running::stop`], or until the test's runtime ends.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    /// The address for the backend, if it is separate.
    pub(crate) admin: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<anyhow::Result<()>>,
    _data: TempDir,
}

/// Returns a configuration for tests, and its data directory.
pub(crate) fn config(change: impl FnOnce(&mut Config)) -> (Config, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".into();
    config.store.path = data.path().into();
    config.store.durability = Durability::Process;
    change(&mut config);
    (config, data)
}

impl Running {
    pub(crate) async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let (config, data) = config(change);
        Self::run(Server::open(config).await.unwrap(), data)
    }

    pub(crate) fn run(server: Server, data: TempDir) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (gateway, address) = (server.gateway().clone(), server.address());
        let admin = server.admin_address();
        let ended = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self {
            gateway,
            address,
            admin,
            stop,
            ended,
            _data: data,
        }
    }

    /// Connects a client of the current generation.
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address, 4).await
    }

    /// Connects a client and registers it, with the device `<uid>-1`.
    pub(crate) async fn registered(&self, uid: &str) -> Client {
        let mut client = self.connect().await;
        client.register(uid, &format!("{uid}-1")).await;
        client
    }

    /// Stops the server in order.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
    }
}

pub(crate) fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

/// Returns a send order of the backend.
pub(crate) fn order(kind: u16, to: To, data: &Value) -> SendOrder {
    SendOrder {
        kind,
        to,
        from: None,
        data: serde_json::value::to_raw_value(data).unwrap().into(),
        cid: None,
        push: None,
        ttl_ms: None,
        by: By::Api,
    }
}
