//! The bus: packets between nodes, through the channels of Redis.
//!
//! There is one channel for each run of a node and one for all nodes. Packets are delivered at most once:
//! they are dropped, and counted, when a queue is full or Redis does not work, because whatever must arrive
//! is also found in the record. Packets of one node that arrive, arrive in the order in which it has sent
//! them.
//!
//! Invariants: sending and receiving never wait. Each queue is bounded in packets and in bytes. Whatever
//! waits is published in one write. A bus that delivers nothing is noticed ([`health`]) and connected anew.

mod counts;
mod health;
mod inbox;
mod publish;
mod seal;
mod target;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::address::Address;
use crate::failure::Trouble;
use crate::ids::{ClusterName, Incarnation};
use crate::link::{Link, Purpose, State, Times};
use crate::secret::Secret;
use counts::Counters;
use health::Health;
use inbox::Delivery;
use publish::{Publisher, Queue};
use seal::{Opener, Sealer, Use};
use target::Channels;

pub use counts::Counts;
pub use inbox::{Inbox, Received};
pub use target::{NotSent, To};

/// What a bus needs.
pub struct BusConfig {
    /// Where Redis is.
    pub address: Arc<Address>,
    /// The name of the cluster.
    pub name: ClusterName,
    /// The secret of the cluster.
    pub secret: Secret,
    /// This node's run. Only one bus may be started for it, because receivers refuse counters that begin
    /// again.
    pub incarnation: Incarnation,
    /// The maximum number of packets in each of the two queues: to publish, and received.
    pub most_packets: usize,
    /// The maximum number of bytes in each of the two queues.
    pub most_bytes: usize,
    /// Limits of time.
    pub times: Times,
}

/// The part of the bus that sends. When it is dropped, the node neither sends nor receives.
pub struct Bus {
    queue: Queue,
    publish: Arc<Link>,
    subscribe: Arc<Link>,
    health: Arc<Health>,
    counts: Arc<Counters>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Bus {
    /// Begins to connect. The caller is inside of a tokio runtime. Packets arrive in the second value.
    pub fn start(config: BusConfig) -> (Self, Inbox) {
        let (own, times) = (config.incarnation, config.times);
        let key = config.secret.key("bus", &config.name);
        let channels = Channels::new(&config.name);
        let (health, counts) = (
            Arc::new(Health::new(times.silence)),
            Arc::new(Counters::default()),
        );
        let (delivery, inbox) = inbox::new(config.most_packets, config.most_bytes, counts.clone());
        let receiver = Receiver {
            own,
            opener: parking_lot::Mutex::new(Opener::new(key.clone())),
            health: health.clone(),
            counts: counts.clone(),
            delivery,
        };
        let subscribe = Purpose::Subscribe {
            channels: vec![channels.of(own), channels.all()],
            pushed: Arc::new(move |push| {
                receiver.pushed(push);
                Ok(())
            }),
        };
        let publish = Arc::new(Link::start(config.address.clone(), Purpose::Publish, times));
        let subscribe = Arc::new(Link::start(config.address, subscribe, times));
        let (queue, waiting) = publish::queue(config.most_packets, config.most_bytes);
        let publisher = Publisher {
            waiting,
            sealer: Sealer::new(key, own),
            channels,
            link: publish.clone(),
            counts: counts.clone(),
            was_refused: false,
        };
        let probes = Probes {
            queue: queue.clone(),
            own,
            links: [publish.clone(), subscribe.clone()],
            health: health.clone(),
        };
        let tasks = [
            tokio::spawn(publisher.run()),
            tokio::spawn(probes.run(times.beat)),
        ];
        let bus = Self {
            queue,
            publish,
            subscribe,
            health,
            counts,
            tasks,
        };
        (bus, inbox)
    }

    /// Sends a packet. It is queued or dropped at once; the error says why it was dropped.
    pub fn send(&self, to: To, body: Bytes) -> Result<(), NotSent> {
        let sent = match self.publish.is_connected() {
            true => self.queue.push(to, Use::Packet, body),
            false => Err(NotSent::Disconnected),
        };
        self.counts.queued(sent);
        sent
    }

    /// Since when this node has heard its own probes without an interruption; `None` while it does not.
    pub fn healthy_since(&self) -> Option<Instant> {
        self.health.healthy_since()
    }

    /// How long this node has not heard its own probes, which it sends every second.
    pub fn silent_for(&self) -> Duration {
        self.health.silent_for()
    }

    /// The states of the connections that publish and that receive; changes can be awaited.
    pub fn states(&self) -> [watch::Receiver<State>; 2] {
        [self.publish.state(), self.subscribe.state()]
    }

    /// What has become of the packets.
    pub fn counts(&self) -> Counts {
        self.counts.read()
    }
}

/// Takes what Redis delivers.
struct Receiver {
    own: Incarnation,
    opener: parking_lot::Mutex<Opener>,
    health: Arc<Health>,
    counts: Arc<Counters>,
    delivery: Delivery,
}

impl Receiver {
    fn pushed(&self, push: PushInfo) {
        if push.kind != PushKind::Message {
            return;
        }
        let Some(Value::BulkString(packet)) = push.data.into_iter().nth(1) else {
            return;
        };
        let opened = match self.opener.lock().open(&packet) {
            Ok(opened) => opened,
            Err(refusal) => {
                if self.counts.refused() {
                    tracing::warn!("a packet on the bus was refused: {refusal}");
                }
                return;
            }
        };
        match opened.usage {
            Use::Probe if opened.from == self.own => self.health.heard(),
            // A node gets what it sends to all.
            Use::Packet if opened.from != self.own => self.delivery.put(Received {
                from: opened.from,
                body: Bytes::from(packet).slice(opened.body),
            }),
            Use::Probe | Use::Packet => {}
        }
    }
}

/// Sends probes to the node itself, on the way that all packets go, and connects anew when they do not
/// arrive.
struct Probes {
    queue: Queue,
    own: Incarnation,
    /// Those that publish and receive.
    links: [Arc<Link>; 2],
    health: Arc<Health>,
}

impl Probes {
    async fn run(self, every: Duration) {
        let [publish, subscribe] = &self.links;
        let mut state = subscribe.state();
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut replaced: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = state.changed() => {
                    self.health.interrupted();
                    continue;
                }
            }
            if publish.is_connected() {
                // If the queue is full, the bus does not work, and it is right that no probe is heard.
                let _ = self.queue.push(To::Node(self.own), Use::Probe, Bytes::new());
            }
            let silence = self.health.silence();
            if self.health.is_silent() && replaced.is_none_or(|at| at.elapsed() > silence) {
                replaced = Some(Instant::now());
                self.links.iter().for_each(|link| link.replace(Trouble::Silent));
            }
        }
    }
}
