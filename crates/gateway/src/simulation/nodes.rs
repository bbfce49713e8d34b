//! What nodes have in common apart from the store: Redis, and what each knows about the others. Both are
//! sometimes wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mynah_cluster::simulated::{Faults, NodeParts, Redis};
use mynah_cluster::{Inbox, Incarnation};

use super::hub::{Event, Hub};
use crate::clock;
use crate::cluster::{Cluster, Peer, Peers};
use crate::config::{Config, Policy};
use crate::ids::Uid;

/// How long it takes until a node counts as dead that does not say so, in milliseconds.
const SILENCE: (u64, u64) = (7_000, 9_000);
/// How long it takes until a node learns of another one's start or end, in milliseconds.
const HEARSAY: (u64, u64) = (0, 1_000);

/// A run of a node.
struct Run {
    node: usize,
    incarnation: Incarnation,
    ended: Option<End>,
}

struct End {
    at: Instant,
    /// From then on the others can know of it, in milliseconds since the run began.
    shows: u64,
}

/// All nodes that ever ran, and their Redis.
pub(super) struct Nodes {
    pub(super) redis: Redis,
    count: usize,
    /// What goes wrong all the time.
    usual: Faults,
    runs: Vec<Run>,
}

impl Nodes {
    /// So many nodes, none of which runs yet.
    pub(super) fn new(hub: &Hub, count: usize) -> Self {
        let seed = hub.lock().dice.next();
        let (lost, slow) = {
            let dice = &mut hub.lock().dice;
            (*dice.pick(&[0, 0, 5]), *dice.pick(&[1, 5, 50]))
        };
        let usual = Faults {
            lost,
            delay_ms: (0, slow),
            ..Faults::default()
        };
        Self {
            redis: Redis::new(seed, usual),
            count,
            usual,
            runs: Vec::new(),
        }
    }

    /// A new run of a node.
    pub(super) fn join(&mut self, hub: &Hub, node: usize, config: &Config) -> (Arc<Cluster>, Inbox) {
        let policy = match config.login.policy {
            Policy::Single => mynah_cluster::Policy::Single,
            Policy::PerPlatform => mynah_cluster::Policy::PerPlatform(config.limits.connections_per_user),
            Policy::Multi => mynah_cluster::Policy::Multi(config.login.max_devices),
        };
        let incarnation = Incarnation(std::array::from_fn(|_| hub.lock().dice.next() as u8));
        let parts = self.redis.node(incarnation, policy);
        let NodeParts {
            directory,
            bus,
            inbox,
        } = parts;
        let back = Duration::from_millis(config.cluster.return_ms);
        let cluster = Arc::new(Cluster::new(peer(incarnation), back, directory, bus));
        cluster.know(self.peers(hub, node));
        self.runs.push(Run {
            node,
            incarnation,
            ended: None,
        });
        self.spread(hub, 0);
        (cluster, inbox)
    }

    /// The run of a node has ended. Unless it said so, the others notice it late.
    pub(super) fn ended(&mut self, hub: &Hub, node: usize, said: bool) {
        let delay = if said { 0 } else { hub.roll(SILENCE) };
        for run in self.runs.iter_mut().filter(|run| run.node == node) {
            run.ended.get_or_insert(End {
                at: clock::now(),
                shows: hub.now() + delay,
            });
        }
        self.spread(hub, delay);
    }

    fn spread(&self, hub: &Hub, delay: u64) {
        for node in 0..self.count {
            let later = hub.roll(HEARSAY);
            hub.after(delay + later, Event::Know(node));
        }
    }

    /// What a node can know about the others at present.
    pub(super) fn peers(&self, hub: &Hub, node: usize) -> Peers {
        let mut peers = Peers::default();
        for run in &self.runs {
            match &run.ended {
                Some(end) if end.shows <= hub.now() => {
                    peers.ended.insert(run.incarnation, end.at);
                }
                _ if run.node != node => {
                    peers.live.insert(run.incarnation, peer(run.incarnation));
                }
                _ => {}
            }
        }
        peers
    }

    /// Redis gets worse for a while.
    pub(super) fn trouble(&self, hub: &Hub) {
        let running: Vec<_> = self.runs.iter().filter(|run| run.ended.is_none()).collect();
        match hub.roll((0, 9)) {
            0..=1 => {
                hub.note("Redis stops");
                self.redis.stop();
            }
            2..=3 => {
                hub.note("Redis forgets");
                self.redis.forget();
            }
            4..=5 if !running.is_empty() => {
                let run = *hub.lock().dice.pick(&running);
                hub.note(format!("node {} is cut off from Redis", run.node));
                self.redis.cut(run.incarnation, true);
            }
            _ => {
                let faults = {
                    let dice = &mut hub.lock().dice;
                    Faults {
                        lost: *dice.pick(&[0, 20, 60, 100]),
                        repeated: *dice.pick(&[0, 20]),
                        overtaking: *dice.pick(&[0, 50]),
                        unanswered: *dice.pick(&[0, 0, 30]),
                        delay_ms: *dice.pick(&[(0, 5), (0, 300), (100, 3_000)]),
                    }
                };
                hub.note(format!("Redis: {faults:?}"));
                self.redis.set_faults(faults);
            }
        }
    }

    /// Redis is as usual again.
    pub(super) fn recover(&self) {
        self.redis.start();
        self.redis.set_faults(self.usual);
        for run in &self.runs {
            self.redis.cut(run.incarnation, false);
        }
    }

    /// The sids of a user's connections in the directory, in order.
    pub(super) fn sids(&self, uid: &Uid) -> Vec<String> {
        let entries = self.redis.entries(uid).into_iter();
        let mut sids: Vec<_> = entries.map(|(_, entry)| entry.sid.to_string()).collect();
        sids.sort_unstable();
        sids
    }
}

fn peer(incarnation: Incarnation) -> Peer {
    Peer {
        incarnation,
        advertise: "".into(),
    }
}
