//! The bus through the channels of Redis: one for each run of a node, and one for all nodes.
//!
//! Invariant: a node's own probes take the same path as all of its packets. A node that hears them can also
//! send and receive.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::counts::Counters;
use super::health::Health;
use super::inbox::{self, Delivery, Inbox, Received};
use super::publish::{self, Publisher, Queue};
use super::seal::{Opener, Sealer, Use};
use super::target::{Channels, To};
use super::{Bus, BusConfig};
use crate::failure::Trouble;
use crate::ids::Incarnation;
use crate::link::{Link, Purpose};

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
        let tasks = vec![
            tokio::spawn(publisher.run()),
            tokio::spawn(probes.run(times.beat)),
        ];
        let states = [publish.state(), subscribe.state()];
        (Self::new(queue, states, health, counts, tasks), inbox)
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

/// Sends probes to the node itself, on the path of all packets, and replaces the connections when they do not
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
