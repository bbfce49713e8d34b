//! Packets between nodes through a real Redis, and a bus that has died.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::cmd;

use crate::testing::*;
use crate::*;

const MOST_PACKETS: usize = 2000;

struct NodeOnBus {
    incarnation: Incarnation,
    bus: Bus,
    inbox: Inbox,
}

fn config(address: Arc<Address>, incarnation: Incarnation) -> BusConfig {
    BusConfig {
        address,
        name: name(),
        secret: secret(),
        incarnation,
        most_packets: MOST_PACKETS,
        most_bytes: 1 << 20,
        times: TIMES,
    }
}

impl NodeOnBus {
    fn start(config: BusConfig) -> Self {
        let incarnation = config.incarnation;
        let (bus, inbox) = Bus::start(config);
        Self {
            incarnation,
            bus,
            inbox,
        }
    }

    /// A node on a healthy bus.
    async fn new(server: &Server) -> Self {
        let incarnation = Incarnation::random().unwrap();
        let node = Self::start(config(server.address(), incarnation));
        node.healthy().await;
        node
    }

    async fn healthy(&self) {
        until("the bus is healthy", async || self.bus.healthy_since()).await;
    }

    async fn receive(&mut self, number: usize) -> Vec<Received> {
        let mut received = Vec::new();
        let receive = async {
            while received.len() < number {
                let most = number - received.len();
                assert!(self.inbox.receive(&mut received, most).await > 0);
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), receive).await;
        waited.expect("packets arrive");
        received
    }
}

fn numbered(number: usize) -> Bytes {
    number.to_string().into()
}

#[tokio::test]
async fn packets_reach_one_node_some_or_all_in_order() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut one = NodeOnBus::new(&server).await;
    let mut two = NodeOnBus::new(&server).await;
    let mut three = NodeOnBus::new(&server).await;
    for number in 0..300 {
        let to = match number % 3 {
            0 => To::Node(two.incarnation),
            1 => To::Nodes([two.incarnation, three.incarnation].into()),
            _ => To::All,
        };
        one.bus.send(to, numbered(number)).unwrap();
    }
    let expected = |fits: fn(usize) -> bool| -> Vec<Received> {
        let from = one.incarnation;
        let numbers = (0..300).filter(|number| fits(*number));
        numbers
            .map(|number| Received {
                from,
                body: numbered(number),
            })
            .collect()
    };
    assert_eq!(two.receive(300).await, expected(|_| true));
    assert_eq!(three.receive(200).await, expected(|number| number % 3 > 0));
    // The sender does not get its own packets.
    two.bus.send(To::All, numbered(7)).unwrap();
    assert_eq!(one.receive(1).await[0].from, two.incarnation);
    let counts = one.bus.counts();
    assert_eq!(
        (counts.queued, counts.full, counts.lost, counts.refused),
        (300, 0, 0, 0)
    );
    // One write takes everything that waits.
    assert!(counts.writes < counts.published, "{counts:?}");
}

#[tokio::test]
async fn packets_without_the_secret_and_repeated_packets_are_refused() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut node = NodeOnBus::new(&server).await;
    let stranger = NodeOnBus::start(BusConfig {
        secret: Secret::new("another one of some length").unwrap(),
        ..config(server.address(), Incarnation([9; 16]))
    });
    stranger.healthy().await;
    stranger
        .bus
        .send(To::Node(node.incarnation), numbered(1))
        .unwrap();
    let channel = format!("test:b:{}", node.incarnation);
    for garbage in [&b""[..], b"hello", &[1; 100]] {
        let mut publish = cmd("PUBLISH");
        publish.arg(&channel).arg(garbage);
        let heard: i64 = server.run(&publish).await;
        assert_eq!(heard, 1);
    }
    until("all are refused", async || {
        (node.bus.counts().refused >= 4).then_some(())
    })
    .await;
    let friend = NodeOnBus::new(&server).await;
    friend.bus.send(To::Node(node.incarnation), numbered(2)).unwrap();
    let received = node.receive(1).await;
    assert_eq!(
        (received[0].from, &received[0].body),
        (friend.incarnation, &numbered(2))
    );
    assert_eq!(node.bus.counts().received, 1);
}

#[tokio::test]
async fn a_hanging_redis_is_noticed_as_silence_and_the_queue_is_bounded() {
    let Some(server) = Server::start().await else {
        return;
    };
    let incarnation = Incarnation::random().unwrap();
    let patient = Times {
        answer: Duration::from_secs(30),
        connect: Duration::from_secs(5),
        silence: Duration::from_secs(1),
        ..TIMES
    };
    let mut config = config(server.address(), incarnation);
    config.times = patient;
    let node = NodeOnBus::start(config);
    let mut other = NodeOnBus::new(&server).await;
    node.healthy().await;
    server.hang();
    // The connections look alive for long. Sending does not wait: packets are queued, then dropped.
    let mut results = Vec::new();
    for number in 0..MOST_PACKETS * 2 {
        results.push(node.bus.send(To::Node(other.incarnation), numbered(number)));
    }
    assert!(results.contains(&Ok(())));
    assert!(results.contains(&Err(NotSent::Full)));
    let dropped = results
        .iter()
        .filter(|result| **result == Err(NotSent::Full))
        .count();
    assert_eq!(node.bus.counts().full, dropped as u64);
    until("silence is noticed", async || {
        (node.bus.healthy_since().is_none() && node.bus.silent_for() > patient.silence).then_some(())
    })
    .await;
    for state in node.bus.states() {
        trouble(state, |trouble| {
            matches!(trouble, Trouble::Silent | Trouble::NoAnswer)
        })
        .await;
    }
    assert_eq!(node.bus.send(To::All, numbered(0)), Err(NotSent::Disconnected));
    server.go_on();
    node.healthy().await;
    other.healthy().await;
    // What Redis had taken before is delivered; then what is sent now.
    node.bus
        .send(To::Node(other.incarnation), Bytes::from_static(b"now"))
        .unwrap();
    until("a new packet arrives", async || {
        (other.receive(1).await[0].body == "now").then_some(())
    })
    .await;
}

/// Redis answers on all connections, but delivers nothing.
#[tokio::test]
async fn a_bus_that_delivers_nothing_is_noticed_although_its_connections_work() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut user = cmd("ACL");
    user.arg(&["SETUSER", "mynah", "on", ">hunter2", "~*", "&*", "+@all"][..]);
    () = server.run(&user).await;
    let url = format!("redis://mynah:hunter2@127.0.0.1:{}", server.port);
    let address = Arc::new(Address::parse(&url, &trusting_nobody()).unwrap());
    let incarnation = Incarnation::random().unwrap();
    let node = NodeOnBus::start(BusConfig {
        times: Times {
            silence: Duration::from_millis(500),
            ..TIMES
        },
        ..config(address, incarnation)
    });
    node.healthy().await;
    // From now on Redis refuses to publish, although the connections work.
    let mut forbid = cmd("ACL");
    forbid.arg(&["SETUSER", "mynah", "-publish"][..]);
    () = server.run(&forbid).await;
    until("silence is noticed", async || {
        node.bus.healthy_since().is_none().then_some(())
    })
    .await;
    let mut states = node.bus.states();
    for state in &mut states {
        trouble(state.clone(), |trouble| *trouble == Trouble::Silent).await;
    }
    let mut allow = cmd("ACL");
    allow.arg(&["SETUSER", "mynah", "+publish"][..]);
    () = server.run(&allow).await;
    node.healthy().await;
}

#[tokio::test]
async fn the_bus_works_again_after_a_restart_of_redis() {
    let Some(server) = Server::start().await else {
        return;
    };
    let one = NodeOnBus::new(&server).await;
    let mut two = NodeOnBus::new(&server).await;
    for round in 0..3 {
        server.crash();
        until("it is disconnected", async || {
            let sent = one.bus.send(To::All, numbered(99));
            (sent == Err(NotSent::Disconnected)).then_some(())
        })
        .await;
        server.restart().await;
        one.healthy().await;
        two.healthy().await;
        one.bus.send(To::Node(two.incarnation), numbered(round)).unwrap();
        until("a packet arrives", async || {
            (two.receive(1).await[0].body == numbered(round)).then_some(())
        })
        .await;
    }
    assert!(one.bus.counts().disconnected >= 3);
}

/// A receiver that does not take its packets loses some, and no memory.
#[tokio::test]
async fn a_slow_receiver_is_bounded() {
    let Some(server) = Server::start().await else {
        return;
    };
    let one = NodeOnBus::new(&server).await;
    let mut two = NodeOnBus::new(&server).await;
    let total = MOST_PACKETS as u64 * 3;
    let mut sent = 0;
    while sent < total {
        match one.bus.send(To::Node(two.incarnation), numbered(1)) {
            Ok(()) => sent += 1,
            Err(_) => tokio::task::yield_now().await,
        }
    }
    until("all packets came", async || {
        let counts = two.bus.counts();
        (counts.received + counts.overflowed == total).then_some(())
    })
    .await;
    let counts = two.bus.counts();
    assert_eq!(counts.received, MOST_PACKETS as u64);
    two.receive(MOST_PACKETS).await;
    one.bus.send(To::Node(two.incarnation), numbered(2)).unwrap();
    assert_eq!(two.receive(1).await[0].body, numbered(2));
}
