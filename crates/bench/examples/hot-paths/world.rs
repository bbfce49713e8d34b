//! A gateway without a disk, and its clients, all on this thread.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mynah::config::{Config, Conversation, KindRow};
use mynah::ids::Uid;
use mynah::{Builder, Gateway, Reply};
use mynah_front::{Listener, ListenerOptions};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::client::{Client, packet};
use crate::stand_in::StandIn;

/// A kind that is not stored. Clients send it with 101, and the backend may send it to anyone.
pub(crate) const PASSED: u16 = 1000;
/// A kind with a handler, which counts the frames.
pub(crate) const HANDLED: u16 = 1001;

/// The maximum number of rounds of the runtime until something expected happens; usually a handful is enough.
const PATIENCE: usize = 1_000_000;

/// A gateway with its clients.
pub(crate) struct World {
    runtime: Rc<Runtime>,
    pub(crate) gateway: Gateway,
    /// The clients. The index of each is its number in [`uid`].
    pub(crate) clients: Vec<Client>,
    /// The number of handled frames of kind [`HANDLED`].
    pub(crate) handled: Arc<AtomicUsize>,
    pub(crate) buffer: Box<[u8]>,
}

/// The uid of the client with this index. All uids have the same length.
pub(crate) fn uid(place: usize) -> Uid {
    Uid::new(&format!("user-{place:03}")).expect("a uid")
}

fn config() -> Config {
    let mut config = Config::default();
    config.limits.frames_per_second = 0;
    config.limits.frames_burst = 0;
    // The limits are so high that they are counted but never reached.
    config.limits.user_messages_per_second = 10_000_000;
    config.limits.user_messages_burst = 10_000_000;
    config.limits.user_bytes_per_minute = 4_000_000_000;
    config.limits.user_bytes_burst = 4_000_000_000;
    config.kinds.push(KindRow {
        number: PASSED,
        name: "PASSED".into(),
        conversation: Conversation::None,
        stored: false,
        unread: false,
        push: false,
        clients: true,
    });
    config
}

impl World {
    /// A gateway with this number of clients, which want their frames in this format.
    pub(crate) fn new(users: usize, format: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handled = Arc::new(AtomicUsize::new(0));
        let (gateway, address) = runtime.block_on(async {
            let uids = (0..users).map(uid).collect();
            let gateway = Builder::new(config()).start(Arc::new(StandIn::new(uids)))?;
            let counted = handled.clone();
            gateway.register_type(HANDLED, move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Reply::Nothing
            })?;
            // Avoids heartbeats while instructions are counted.
            let config = mynah_socketio::Config {
                ping_interval_ms: 3_600_000,
                ping_timeout_ms: 3_600_000,
                keep_handshake: false,
                ..mynah_socketio::Config::default()
            };
            let server = mynah_socketio::Server::new(config, gateway.namespaces());
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let serve = move |request, peer| {
                let server = server.clone();
                async move { server.handle(request, peer).await }
            };
            let listener = Listener::new(listener, ListenerOptions::default());
            tokio::spawn(listener.serve(serve, std::future::pending()));
            anyhow::Ok((gateway, address))
        })?;
        let mut world = Self {
            runtime: Rc::new(runtime),
            gateway,
            clients: Vec::new(),
            handled,
            buffer: vec![0; 65_536].into(),
        };
        for place in 0..users {
            let mut client = Client::connect(address)?;
            world.run_until(|world| client.is_upgraded(&mut world.buffer).expect("a WebSocket"));
            world.clients.push(client);
            world.frames_come(place..place + 1, 1);
            let register = json!({
                "type": 1,
                "data": {"uid": uid(place), "deviceid": "phone", "format": format},
            });
            // The frames from the server: the open packet, the connection to the namespace, and the response
            // to the register.
            for (said, packet) in [
                (2, packet("40")),
                (3, packet(&format!(r#"42["message",{register}]"#))),
            ] {
                world.clients[place].send(&packet);
                world.frames_come(place..place + 1, said);
            }
        }
        anyhow::ensure!(
            world.gateway.users_online() == users,
            "not all clients are registered"
        );
        Ok(world)
    }

    /// Runs the future, and the gateway only while the future waits.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Runs the gateway until the condition is true.
    pub(crate) fn run_until(&mut self, mut so: impl FnMut(&mut Self) -> bool) {
        self.runtime.clone().block_on(async {
            for _ in 0..PATIENCE {
                if so(self) {
                    return;
                }
                tokio::task::yield_now().await;
            }
            panic!("the expected event did not happen");
        });
    }

    /// Runs the gateway until each of these clients has received `frames` frames in total.
    pub(crate) fn frames_come(&mut self, to: std::ops::Range<usize>, frames: usize) {
        self.run_until(|world| {
            let clients = &mut world.clients[to.clone()];
            let mut missing = false;
            for client in clients.iter_mut().filter(|client| client.frames < frames) {
                client.read(&mut world.buffer);
                missing |= client.frames < frames;
            }
            !missing
        });
    }
}
